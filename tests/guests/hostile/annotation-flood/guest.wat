;; attacks: metrics: 5,000 annotations with one key
;; ends in: an answer
;; asked: an answer
;; annotations: pointer at 1104, length at 1108; each is empty text under an empty key
(func (export "decide") (param i32) (result i32)
  (i32.store (i32.const 1104) (i32.const 131072))
  (i32.store (i32.const 1108) (i32.const 5000))
  (i32.const 1024))
