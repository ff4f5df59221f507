;; attacks: the sandbox: a component within hands an import of its own through
;; ends in: imports: foreign-import
(component
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "connect" (func))))
  (component $within
    (import "log" (instance (export "connect" (func))))
    (instance $e)
    (export "warm-pool" (instance $e)))
  (instance $i (instantiate $within (with "log" (instance $tcp))))
  (alias export $i "warm-pool" (instance $warm-pool))
  (export "enid:strategy/warm-pool@0.1.0" (instance $warm-pool)))
