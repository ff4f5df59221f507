;; attacks: EC2: it prefers the first subnet to itself
;; ends in: corners: refused
;; asked: refused
;; kind: subnet-selection
;; the list: pointer at 1032, length at 1036
(data (i32.const 1032) "\00\08\00\00\02\00\00\00")
