;; attacks: the host's writing of arguments: the allocator gives up
;; ends in: settings: trap
;; asked: trap
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
