;; attacks: the sandbox: machine code that no compiler of ours has made
;; ends in: precompiled
;; then: precompile
