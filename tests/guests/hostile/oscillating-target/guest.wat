;; attacks: EC2: in every round it wants another number of addresses
;; ends in: an answer
;; asked: an answer
;; ready-low at 1032; the question begins with its number
(func (export "decide") (param $question i32) (result i32)
  (i32.store (i32.const 1032) (i32.mul (i32.and (i32.load (local.get $question)) (i32.const 1)) (i32.const 9000)))
  (i32.const 1024))
