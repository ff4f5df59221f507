;; attacks: the compiler's time: a function of 40,000 branches that all write one variable
;; ends in: an answer
;; asked: an answer
(func (param $x i32) (param $a i32) (result i32)
;; 40000 times:   (if (i32.and (local.get $x) (i32.const {n})) (then (local.set $a (i32.add (local.get $a) (local.get $x)))))
  (local.get $a))
