;; attacks: the compiler: more bytes than it should have to read
;; ends in: size: too-large
;; asked: an answer
;; then: pad beyond the limit
