;; attacks: the host's memory: it reads far beyond its own
;; ends in: corners: trap
;; asked: trap
(func (export "decide") (param i32) (result i32)
  (i32.load (i32.const -4)))
