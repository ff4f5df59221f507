;; attacks: the host's memory: a log line of 1 MiB
;; ends in: corners: hostcall-bytes
;; asked: hostcall-bytes
(func (export "decide") (param i32) (result i32)
  (drop (memory.grow (i32.const 32)))
  (call $emit (i32.const 0) (i32.const 0) (i32.const 1048576))
  (i32.const 1024))
