;; attacks: the host's reading of schemas: it is no UTF-8
;; ends in: describe: lift
(data (i32.const 8192) "{\ff\fe}")
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\20\00\00\04\00\00\00")
(func (export "describe") (result i32) (i32.const 32))
