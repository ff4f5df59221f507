;; attacks: the host's writing of arguments: room is offered at an odd address
;; ends in: settings: lift
;; asked: lift
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4097))
