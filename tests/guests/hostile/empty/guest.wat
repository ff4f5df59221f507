;; attacks: admission: nothing at all
;; ends in: empty
;; then: empty
