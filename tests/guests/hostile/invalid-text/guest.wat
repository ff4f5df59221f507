;; attacks: the host's strings: a reason that is no UTF-8
;; ends in: corners: lift
;; asked: lift
;; reason: pointer at 1072, length at 1076
(data (i32.const 2048) "\ff\fe\c0")
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1072) (i32.const 2048))
  (i32.store (i32.const 1076) (i32.const 3))
  (i32.const 1024))
