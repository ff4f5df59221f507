;; attacks: the operator: it describes itself as nobody
;; ends in: describe: bad-description
(func (export "describe") (result i32) (i32.const 80))
