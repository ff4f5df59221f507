;; attacks: admission: a core module without the component
;; ends in: core-module
;; then: offer a core module
