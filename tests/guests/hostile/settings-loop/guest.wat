;; attacks: loading: it never finishes checking its settings
;; ends in: settings: fuel
;; asked: an answer
(func (export "check-settings") (param i32 i32) (result i32) (loop $again (br $again)) (unreachable))
