;; attacks: the compiler: it uses instructions that are switched off
;; ends in: compile: invalid
(func (result v128) (v128.const i32x4 0 0 0 0))
