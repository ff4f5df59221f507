;; attacks: the sandbox: it wants a plain function from the host
;; ends in: imports: foreign-import
(component
  (import "run-command" (func (param "command" string)))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
