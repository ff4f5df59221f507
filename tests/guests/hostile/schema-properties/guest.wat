;; attacks: the host's time: a settings schema with 2000 properties
;; ends in: schema: bad-schema
;; asked: an answer
;; the schema at 65536
(data (i32.const 65536) "{\22type\22:\22object\22,\22additionalProperties\22:false,\22properties\22:{"
;; 2000 times:   "\22p{n}\22:{\22type\22:\22boolean\22},"
  "\22z\22:{\22type\22:\22boolean\22}}}")
(data (i32.const 16) "hostile")
(data (i32.const 32) "\10\00\00\00\07\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\14\db\00\00")
(func (export "describe") (result i32) (i32.const 32))
