;; attacks: the host's enums: a grain that does not exist
;; ends in: corners: lift
;; asked: lift
;; grain at 1048
(func (export "decide") (param i32) (result i32)
  (i32.store8 (i32.const 1048) (i32.const 77))
  (i32.const 1024))
