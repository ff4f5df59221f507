;; attacks: the host's memory: it finds a million faults with its settings, each of no bytes
;; ends in: settings: hostcall-bytes
;; asked: an answer
;; the list: pointer at 80, length at 84
(func (export "check-settings") (param i32 i32) (result i32)
  (drop (memory.grow (i32.const 250)))
  (i32.store (i32.const 80) (i32.const 4096))
  (i32.store (i32.const 84) (i32.const 1000000))
  (i32.const 80))
