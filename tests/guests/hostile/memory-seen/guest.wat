;; attacks: determinism: it answers with how much memory it could get
;; ends in: an answer
;; asked: an answer
(func (export "decide") (param i32) (result i32)
  (loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
  (i32.store (i32.const 1032) (i32.and (memory.size) (i32.const 15)))
  (i32.const 1024))
