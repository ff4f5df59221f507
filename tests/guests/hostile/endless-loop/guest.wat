;; attacks: the node's CPU: it never answers
;; ends in: decide: fuel
;; fuel: 1000000
;; deadline-ms: 2000
(func (export "decide") (param i32) (result i32)
  (loop $again (br $again))
  (unreachable))
