;; attacks: the sandbox: it wants a function from where there are only types
;; ends in: start: mismatch
(component
  (import "enid:strategy/types@0.1.0" (instance
    (export "run" (func (param "command" string)))))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
