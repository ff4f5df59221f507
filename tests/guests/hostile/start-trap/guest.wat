;; attacks: loading: its start function traps
;; ends in: start: trap
(func $boom (unreachable))
(start $boom)
