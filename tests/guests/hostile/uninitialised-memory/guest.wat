;; attacks: determinism: it answers with what lies in memory that nobody has written
;; ends in: an answer
;; asked: an answer
(func (export "decide") (param i32) (result i32)
  (local $at i32)
  (local $sum i32)
  (drop (memory.grow (i32.const 16)))
  (local.set $at (i32.const 200000))
  (loop $again
    (local.set $sum (i32.xor (local.get $sum) (i32.load (local.get $at))))
    (i32.store (local.get $at) (i32.const 7))
    (local.set $at (i32.add (local.get $at) (i32.const 4)))
    (br_if $again (i32.lt_u (local.get $at) (i32.const 1000000))))
  (i32.store (i32.const 1032) (i32.and (local.get $sum) (i32.const 7)))
  (i32.const 1024))
