;; attacks: determinism: it answers with the bits of what is no number, which processors choose
;; ends in: an answer
;; asked: an answer
(func (export "decide") (param $question i32) (result i32)
  (local $zero f32)
  (local.set $zero (f32.convert_i32_u (i32.load offset=140 (local.get $question))))
  (i32.store (i32.const 1032) (i32.and
    (i32.shr_u
      (i32.reinterpret_f32 (f32.add (f32.div (local.get $zero) (local.get $zero))
        (f32.sqrt (f32.sub (local.get $zero) (f32.const 1)))))
      (i32.const 20))
    (i32.const 15)))
  (i32.const 1024))
