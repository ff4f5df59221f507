;; attacks: the operator's terminal: a keyword in its settings schema that is 42 KB of escape sequences
;; ends in: schema: bad-schema
;; asked: an answer
;; the schema at 65536
(data (i32.const 65536) "{\22type\22:\22object\22,\22"
;; 3000 times:   "\5cu001b[31m{n}"
  "\22:1}")
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\de\af\00\00")
(func (export "describe") (result i32) (i32.const 32))
