;; attacks: the operator's terminal: it declines with escape sequences
;; ends in: corners: failure
;; asked: failure
;; the result's case at 1024, the failure's at 1032, its text at 1036 and 1040
(data (i32.const 2048) "\1b[2J\nERROR all is lost")
(func (export "decide") (param i32) (result i32)
  (i32.store8 (i32.const 1024) (i32.const 1))
  (i32.store8 (i32.const 1032) (i32.const 2))
  (i32.store (i32.const 1036) (i32.const 2048))
  (i32.store (i32.const 1040) (i32.const 22))
  (i32.const 1024))
