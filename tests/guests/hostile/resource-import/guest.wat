;; attacks: the sandbox: it wants a handle on something of the host's
;; ends in: start: mismatch
(component
  (import "enid:strategy/log@0.1.0" (instance
    (export "file" (type (sub resource)))))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
