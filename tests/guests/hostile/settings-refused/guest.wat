;; attacks: the operator's terminal: it finds fault with settings that nobody gave, in escape sequences
;; ends in: settings: settings
;; asked: an answer
;; one issue at 2048: its key at 2064, its message at 2080
(data (i32.const 80) "\00\08\00\00\01\00\00\00")
(data (i32.const 2048) "\10\08\00\00\05\00\00\00\20\08\00\00\13\00\00\00")
(data (i32.const 2064) "\1b[31m")
(data (i32.const 2080) "\1b]0;owned\07\nERROR x")
