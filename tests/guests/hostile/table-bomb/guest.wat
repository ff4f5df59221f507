;; attacks: the node's memory by another way: it grows a table
;; ends in: corners: tables
;; asked: tables
(table $t 1 funcref)
(func (export "decide") (param i32) (result i32)
  (loop $again
    (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
  (unreachable))
