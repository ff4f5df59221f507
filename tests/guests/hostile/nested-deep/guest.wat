;; attacks: the compiler's stack: a component in a component, 1,000 deep
;; ends in: kind: no-kind
;; then: nest 1000 deep
