;; attacks: determinism: it counts how often it was asked
;; ends in: an answer
;; asked: an answer
(global $asked (mut i32) (i32.const 0))
(func (export "decide") (param i32) (result i32)
  (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
  (i32.store (i32.const 1032) (global.get $asked))
  (i32.const 1024))
