;; attacks: the host's writing of arguments: room is offered outside the guest's memory
;; ends in: settings: lift
;; asked: lift
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x7ffffff0))
