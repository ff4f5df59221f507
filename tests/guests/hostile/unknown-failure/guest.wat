;; attacks: the host's enums: a failure of a fourth sort
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (i32.store8 (i32.const 1024) (i32.const 1))
  (i32.store8 (i32.const 1032) (i32.const 3))
  (i32.const 1024))
