;; attacks: EC2: it wants four billion addresses
;; ends in: corners: refused
;; asked: refused
;; ready-low at 1032
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1032) (i32.const -1))
  (i32.const 1024))
