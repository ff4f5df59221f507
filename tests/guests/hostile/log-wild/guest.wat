;; attacks: the host's memory: a log line from outside the guest's own
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (call $emit (i32.const 0) (i32.const 0x7ffffff0) (i32.const 100))
  (i32.const 1024))
