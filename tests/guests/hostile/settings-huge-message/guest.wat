;; attacks: the host's memory: one fault with its settings takes 1 MiB to tell
;; ends in: settings: hostcall-bytes
;; asked: an answer
;; one issue at 2048: its message at 4096
(data (i32.const 80) "\00\08\00\00\01\00\00\00")
(data (i32.const 2048) "\10\00\00\00\07\00\00\00\00\10\00\00\00\00\10\00")
(func (export "check-settings") (param i32 i32) (result i32)
  (drop (memory.grow (i32.const 64)))
  (i32.const 80))
