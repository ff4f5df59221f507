;; attacks: loading: it never finishes describing itself
;; ends in: describe: fuel
;; fuel: 1000000
;; deadline-ms: 2000
(func (export "describe") (result i32) (loop $again (br $again)) (unreachable))
