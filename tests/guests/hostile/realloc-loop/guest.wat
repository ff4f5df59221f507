;; attacks: the host's writing of arguments: the allocator never returns
;; ends in: settings: fuel
;; asked: fuel
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop $again (br $again)) (unreachable))
