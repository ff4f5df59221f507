;; attacks: the operator's terminal: one fault with its settings takes 200 KB to tell
;; ends in: settings: settings
;; asked: an answer
;; one issue at 2048: its message at 8192
(data (i32.const 80) "\00\08\00\00\01\00\00\00")
(data (i32.const 2048) "\10\00\00\00\07\00\00\00\00\20\00\00\40\0d\03\00")
(data (i32.const 8192)
;; 20000 times:   "0123456789"
)
