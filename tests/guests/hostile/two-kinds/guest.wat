;; attacks: admission: it claims to be two kinds at once
;; ends in: kind: two-kinds
(component
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e))
  (export "enid:strategy/max-pods@0.1.0" (instance $e)))
