;; attacks: the host's memory: the answer is said to be outside the guest's own
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (i32.const 0x7ffffff0))
