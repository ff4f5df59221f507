;; attacks: the sandbox: machine code that begins like a component
;; ends in: compile: invalid
;; then: precompile and dress up
