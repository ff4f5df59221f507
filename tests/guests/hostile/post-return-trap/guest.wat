;; attacks: the host's clean-up: it answers well and then traps
;; ends in: corners: trap
;; asked: trap
(func (export "post-decide") (param i32) (unreachable))
