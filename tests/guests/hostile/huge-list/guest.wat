;; attacks: the host's memory: it returns a state of 8 MiB
;; ends in: corners: hostcall-bytes
;; asked: hostcall-bytes
;; state: pointer at 1096, length at 1100
(func (export "decide") (param i32) (result i32)
  (drop (memory.grow (i32.const 200)))
  (i32.store (i32.const 1096) (i32.const 65536))
  (i32.store (i32.const 1100) (i32.const 8388608))
  (i32.const 1024))
