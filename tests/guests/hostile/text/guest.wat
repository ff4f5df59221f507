;; attacks: admission: the text form instead of the binary
;; ends in: form: not-wasm
;; then: offer text
