;; attacks: EC2: it gives back in every round what it asks for in the next
;; ends in: corners: refused
;; asked: refused
;; ready-low at 1032, ready-high at 1036 (present) and 1040
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1032) (i32.const 20))
  (i32.store8 (i32.const 1036) (i32.const 1))
  (i32.const 1024))
