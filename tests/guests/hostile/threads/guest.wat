;; attacks: the compiler: it uses atomic instructions
;; ends in: compile: invalid
(func (result i32) (i32.atomic.load (i32.const 0)))
