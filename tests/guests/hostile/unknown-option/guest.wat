;; attacks: the host's enums: an option that is neither there nor not
;; ends in: corners: lift
;; asked: lift
;; ready-high at 1036
(func (export "decide") (param i32) (result i32)
  (i32.store8 (i32.const 1036) (i32.const 2))
  (i32.const 1024))
