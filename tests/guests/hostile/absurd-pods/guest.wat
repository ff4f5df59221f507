;; attacks: the kubelet: four billion pods
;; ends in: corners: refused
;; asked: refused
;; kind: max-pods
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1032) (i32.const -1))
  (i32.const 1024))
