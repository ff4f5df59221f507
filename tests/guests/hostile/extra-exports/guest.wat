;; attacks: admission: besides the contract it exports a kind that does not exist and a function
;; ends in: an answer
;; asked: an answer
;; beside: (export "enid:strategy/teapot@0.1.0" (instance $plugin)) (export "run" (func $describe)) (export "wasi:cli/run@0.2.0" (instance $plugin))
