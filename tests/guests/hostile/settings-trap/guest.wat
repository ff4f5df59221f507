;; attacks: loading: it gives up while it checks its settings
;; ends in: settings: trap
;; asked: an answer
(func (export "check-settings") (param i32 i32) (result i32) (unreachable))
