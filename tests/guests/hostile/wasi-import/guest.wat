;; attacks: the sandbox: it wants the environment of the daemon
;; ends in: imports: foreign-import
(component
  (import "wasi:cli/environment@0.2.0" (instance
    (export "get-environment" (func (result (list (tuple string string)))))))
  (instance $e)
  (export "enid:strategy/warm-pool@0.1.0" (instance $e)))
