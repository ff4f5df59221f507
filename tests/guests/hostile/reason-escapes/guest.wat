;; attacks: the operator's terminal: a reason of 10,000 lines in escape sequences
;; ends in: an answer
;; asked: an answer
(data (i32.const 131072)
;; 10000 times:   "\1b[2J\0aERROR \07"
)
(data (i32.const 1072) "\00\00\02\00\e0\c8\01\00")
