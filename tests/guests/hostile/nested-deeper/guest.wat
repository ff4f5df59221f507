;; attacks: the compiler's memory: a component in a component, 100,000 deep
;; ends in: compile: too-costly
;; then: nest 100000 deep
;; compiled: in a child only
