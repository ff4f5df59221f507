;; attacks: the host's stack: a settings schema that is 60,000 lists deep
;; ends in: schema: bad-schema
;; asked: an answer
;; the schema at 65536
(data (i32.const 65536)
;; 6000 times:   "[[[[[[[[[["
)
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\60\ea\00\00")
(func (export "describe") (result i32) (i32.const 32))
