;; attacks: the compiler's time: 50,000 components in one
;; ends in: compile: invalid
(component
;; 50000 times:   (component)
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
