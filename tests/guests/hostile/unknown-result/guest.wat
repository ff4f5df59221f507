;; attacks: the host's enums: a result that is neither success nor failure
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (i32.store8 (i32.const 1024) (i32.const 255))
  (i32.const 1024))
