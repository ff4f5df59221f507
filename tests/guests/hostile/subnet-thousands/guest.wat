;; attacks: the host's time: it ranks 20,000 subnets
;; ends in: corners: refused
;; asked: refused
;; kind: subnet-selection
;; the list: pointer at 1032, length at 1036
(data (i32.const 1032) "\00\20\00\00\20\4e\00\00")
