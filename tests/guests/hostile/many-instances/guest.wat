;; attacks: the host's memory: it consists of 500 instances
;; ends in: start: instances
(component
  (core module $m (func (export "f") (result i32) (i32.const 1)))
  (core instance $i (instantiate $m))
;; 500 times:   (core instance (instantiate $m))
  (alias core export $i "f" (core func $f'))
  (func $f (result u32) (canon lift (core func $f')))
  (instance $plugin (export "describe" (func $f)) (export "check-settings" (func $f)))
  (instance $warm-pool (export "decide" (func $f)))
  (export "enid:strategy/plugin@0.1.0" (instance $plugin))
  (export "enid:strategy/warm-pool@0.1.0" (instance $warm-pool)))
