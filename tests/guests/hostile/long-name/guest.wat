;; attacks: the operator's terminal: a name of 200 KB in escape sequences
;; ends in: an answer
;; asked: an answer
(data (i32.const 8192)
;; 20000 times:   "\1b[31mred\0a\07"
)
(data (i32.const 32) "\00\20\00\00\40\0d\03\00")
(func (export "describe") (result i32) (i32.const 32))
