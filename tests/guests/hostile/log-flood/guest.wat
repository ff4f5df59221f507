;; attacks: the log: it writes lines as fast as it can
;; ends in: corners: deadline
;; asked: deadline
;; fuel: 2000000000
;; deadline-ms: 20
(data (i32.const 2048) "\1b[31mfake\nlines\n")
(func (export "decide") (param i32) (result i32)
  (loop $again
    (call $emit (i32.const 2) (i32.const 2048) (i32.const 16))
    (br $again))
  (unreachable))
