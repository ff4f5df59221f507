;; attacks: the log: lines that look like others', in escape sequences, more than it may write
;; ends in: an answer
;; asked: an answer
(data (i32.const 2048) "fine\0a2026-01-01T00:00:00Z ERROR enid: \1b[31mfake\0d")
(func (export "decide") (param i32) (result i32)
  (local $line i32)
  (loop $again
    (call $emit (i32.const 2) (i32.const 2048) (i32.const 47))
    (local.set $line (i32.add (local.get $line) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $line) (i32.const 1000))))
  (i32.const 1024))
