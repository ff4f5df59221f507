;; attacks: loading: its start function never ends
;; ends in: start: fuel
;; fuel: 1000000
;; deadline-ms: 2000
(func $forever (loop $again (br $again)))
(start $forever)
