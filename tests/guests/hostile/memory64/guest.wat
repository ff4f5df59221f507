;; attacks: the compiler: it uses 64-bit memory
;; ends in: invalid
(memory i64 1)
