;; attacks: the host's enums: a level of the log that does not exist
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (call $emit (i32.const 3) (i32.const 16) (i32.const 4))
  (i32.const 1024))
