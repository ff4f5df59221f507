;; attacks: admission: the text form instead of the binary
;; ends in: not-wasm
;; then: offer text
