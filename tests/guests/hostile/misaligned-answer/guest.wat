;; attacks: the host's reading of the answer: it starts at an odd address
;; ends in: corners: lift
;; asked: lift
(func (export "decide") (param i32) (result i32)
  (i32.const 1025))
