;; attacks: the compiler: it uses 64-bit memory
;; ends in: compile: invalid
(memory i64 1)
