;; attacks: the host's writing of arguments: there is room for all but the last byte
;; ends in: settings: lift
;; asked: lift
(func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
  (i32.and (i32.sub (i32.const 262152) (local.get $size)) (i32.const -8)))
