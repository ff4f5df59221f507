;; attacks: the sandbox: machine code that no compiler of ours has made
;; ends in: form: precompiled
;; then: precompile
