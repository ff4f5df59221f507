;; attacks: loading: its start function never ends
;; ends in: start: fuel
(func $forever (loop $again (br $again)))
(start $forever)
