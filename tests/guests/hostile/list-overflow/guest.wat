;; attacks: the host's arithmetic: a list whose bytes do not fit 32 bits
;; ends in: corners: lift
;; asked: lift
;; annotations: pointer at 1104, length at 1108
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1104) (i32.const 4096))
  (i32.store (i32.const 1108) (i32.const 0x20000001))
  (i32.const 1024))
