;; attacks: the host's memory: a list that ends beyond the guest's own
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1096) (i32.const 262100))
  (i32.store (i32.const 1100) (i32.const 100))
  (i32.const 1024))
