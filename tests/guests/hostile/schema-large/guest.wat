;; attacks: the host's memory: a settings schema of 70,000 bytes
;; ends in: describe: bad-description
;; the schema at 65536
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\70\11\01\00")
(func (export "describe") (result i32) (i32.const 32))
