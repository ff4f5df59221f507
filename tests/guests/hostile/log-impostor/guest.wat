;; attacks: the sandbox: it wants more from the log than the log has
;; ends in: start: mismatch
(component
  (import "enid:strategy/log@0.1.0" (instance
    (export "read" (func (result string)))))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
