;; attacks: the host's re-entrance: the allocator calls back into the log
;; ends in: settings: trap
;; asked: trap
(func (export "realloc") (param i32 i32 i32 i32) (result i32)
  (call $emit (i32.const 0) (i32.const 16) (i32.const 4))
  (i32.const 4096))
