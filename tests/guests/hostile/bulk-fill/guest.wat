;; attacks: the deadline: single instructions that each fill megabytes
;; ends in: corners: fuel
;; asked: fuel
(func (export "decide") (param i32) (result i32)
  (drop (memory.grow (i32.const 240)))
  (loop $again
    (memory.fill (i32.const 65536) (i32.const 7) (i32.const 15000000))
    (br $again))
  (unreachable))
