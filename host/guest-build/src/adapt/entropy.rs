//! Chance that is the same in every instance, as instructions.

use wasm_encoder::{BlockType, ConstExpr, Function, GlobalSection, GlobalType, ValType};

use super::operand;

/// Declares the generator's state, as the next global.
pub(super) fn declare_state(globals: &mut GlobalSection) {
    let state = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    globals.global(state, &ConstExpr::i64_const(0));
}

/// A function without parameters whose `i64` is the next number: SplitMix64 over the state's global.
pub(super) fn next(state: u32) -> Function {
    let mut function = Function::new([(1, ValType::I64)]);
    let mut code = function.instructions();
    code.global_get(state).i64_const(0x9e37_79b9_7f4a_7c15_u64.cast_signed()).i64_add();
    code.local_tee(0).global_set(state);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9_u64), (27, 0x94d0_49bb_1331_11eb_u64)] {
        code.local_get(0).local_get(0).i64_const(shift).i64_shr_u().i64_xor();
        code.i64_const(factor.cast_signed()).i64_mul().local_set(0);
    }
    code.local_get(0).local_get(0).i64_const(31).i64_shr_u().i64_xor().end();
    function
}

/// Fills the bytes from local `at`, as many as local `count` says; both are used up.
pub(super) fn fill(function: &mut Function, next: u32, at: u32, count: u32) {
    let mut code = function.instructions();
    code.block(BlockType::Empty).loop_(BlockType::Empty);
    code.local_get(count).i32_eqz().br_if(1);
    code.local_get(at).call(next).i64_const(56).i64_shr_u().i64_store8(operand(0, 0));
    code.local_get(at).i32_const(1).i32_add().local_set(at);
    code.local_get(count).i32_const(1).i32_sub().local_set(count);
    code.br(0).end().end();
}
