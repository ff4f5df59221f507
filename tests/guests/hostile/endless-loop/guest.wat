;; attacks: the node's CPU: it never answers
;; ends in: corners: fuel
;; asked: fuel
(func (export "decide") (param i32) (result i32)
  (loop $again (br $again))
  (unreachable))
