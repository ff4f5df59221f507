;; attacks: EC2: it prefers a subnet that nobody offered
;; ends in: corners: refused
;; asked: refused
;; kind: subnet-selection
;; the list: pointer at 1032, length at 1036
(data (i32.const 1032) "\00\08\00\00\01\00\00\00")
(data (i32.const 2048) "\ff\ff\00\00\01\00\00\00")
