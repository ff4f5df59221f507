;; attacks: the compiler's memory: functions with 49,000 variables each
;; ends in: an answer
;; asked: an answer
(func (param i32) (result i32) (local
;; 49000 times:   i32
  ) (local.set 48999 (local.get 0)) (local.get 48000))
(func (param i32) (result i32) (local
;; 49000 times:   i32
  ) (local.set 48999 (local.get 0)) (local.get 48001))
(func (param i32) (result i32) (local
;; 49000 times:   i32
  ) (local.set 48999 (local.get 0)) (local.get 48002))
(func (param i32) (result i32) (local
;; 49000 times:   i32
  ) (local.set 48999 (local.get 0)) (local.get 48003))
