;; attacks: admission: half a component
;; ends in: compile: invalid
;; then: truncate
