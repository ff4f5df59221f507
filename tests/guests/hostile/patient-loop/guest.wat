;; attacks: the deadline: it has more fuel than time
;; ends in: corners: deadline
;; asked: deadline
;; fuel: 2000000000
;; deadline-ms: 20
(func (export "decide") (param i32) (result i32)
  (loop $again (br $again))
  (unreachable))
