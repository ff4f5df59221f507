;; attacks: the host's memory: a settings schema of 8 MiB
;; ends in: describe: hostcall-bytes
;; the schema at 65536
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\80\00")
(func (export "describe") (result i32)
  (drop (memory.grow (i32.const 200)))
  (i32.const 32))
