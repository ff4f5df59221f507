;; attacks: the host's bookkeeping: one byte of state more than it may keep
;; ends in: corners: refused
;; asked: refused
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1096) (i32.const 8192))
  (i32.store (i32.const 1100) (i32.const 16385))
  (i32.const 1024))
