;; attacks: the operator's terminal: it finds a hundred thousand faults with its settings
;; ends in: settings: hostcall-bytes
;; asked: an answer
;; the list: pointer at 80, length at 84
(func (export "check-settings") (param i32 i32) (result i32)
  (drop (memory.grow (i32.const 64)))
  (i32.store (i32.const 80) (i32.const 4096))
  (i32.store (i32.const 84) (i32.const 100000))
  (i32.const 80))
