;; attacks: admission: nothing at all
;; ends in: size: empty
;; then: empty
