;; attacks: the node's memory: it grows until somebody says no
;; ends in: corners: memory
;; asked: memory
(func (export "decide") (param i32) (result i32)
  (loop $again
    (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  (unreachable))
