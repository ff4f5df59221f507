;; attacks: the sandbox: it wants something from a package that is called almost like the contract
;; ends in: imports: foreign-import
(component
  (import "enid:strategies/log@0.1.0" (instance
    (export "emit" (func (param "message" string)))))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
