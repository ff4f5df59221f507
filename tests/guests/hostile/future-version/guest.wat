;; attacks: admission: it is built for a contract that does not exist yet
;; ends in: kind: foreign-version
(component
  (instance $e)
  (export "enid:strategy/warm-pool@0.2.0" (instance $e)))
