;; attacks: admission: a core module without the component
;; ends in: form: core-module
;; then: offer a core module
