;; attacks: admission: it decides, but never says who it is
;; ends in: start: mismatch
(component
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
