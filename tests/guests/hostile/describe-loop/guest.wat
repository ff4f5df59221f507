;; attacks: loading: it never finishes describing itself
;; ends in: describe: fuel
(func (export "describe") (result i32) (loop $again (br $again)) (unreachable))
