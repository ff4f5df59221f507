;; attacks: the compiler's memory: a branch to one of 65,000 places
;; ends in: an answer
;; asked: an answer
(func (param i32) (result i32)
  (block $out
    (block $in
      (br_table
;; 32500 times:        $out $in
        $out (local.get 0)))
    (return (i32.const 1)))
  (i32.const 2))
