;; attacks: the host's memory: a reason of 8 MiB
;; ends in: corners: hostcall-bytes
;; asked: hostcall-bytes
;; reason: pointer at 1072, length at 1076
(func (export "decide") (param i32) (result i32)
  (drop (memory.grow (i32.const 200)))
  (i32.store (i32.const 1072) (i32.const 65536))
  (i32.store (i32.const 1076) (i32.const 8388608))
  (i32.const 1024))
