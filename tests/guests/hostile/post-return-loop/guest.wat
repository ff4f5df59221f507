;; attacks: the host's clean-up: it answers well and then never ends
;; ends in: corners: fuel
;; asked: fuel
(func (export "post-decide") (param i32) (loop $again (br $again)))
