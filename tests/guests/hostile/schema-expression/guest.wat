;; attacks: the host's time: a settings schema with an expression that takes for ever to match
;; ends in: schema: bad-schema
;; asked: an answer
(data (i32.const 8192) "{\22type\22:\22object\22,\22additionalProperties\22:false,\22properties\22:{\22a\22:{\22type\22:\22string\22,\22pattern\22:\22(a+)+$\22}}}")
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\20\00\00\66\00\00\00")
(func (export "describe") (result i32) (i32.const 32))
