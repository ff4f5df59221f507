;; attacks: the host's writing of arguments: the same room is offered for everything
;; ends in: an answer
;; asked: an answer
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
