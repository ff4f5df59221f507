;; attacks: the sandbox: it wants to be given code
;; ends in: imports: foreign-import
(component
  (import "code" (core module (export "run" (func))))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
