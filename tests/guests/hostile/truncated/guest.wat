;; attacks: admission: half a component
;; ends in: invalid
;; then: truncate
