;; attacks: the compiler: more bytes than it should have to read
;; ends in: too-large
;; then: pad beyond the limit
