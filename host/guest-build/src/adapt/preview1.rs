//! Answers to the first WASI, for core modules: a module of the functions that another one imports.
//!
//! C libraries speak it. Which functions a program pulls in depends on what it calls, down to the locks
//! inside `malloc`; so each import gets the answer below that goes by its name, and an honest error if none
//! does.

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalSection,
    ImportSection, MemoryType, Module, TypeSection, ValType,
};
use wasmparser::{BinaryReaderError, CompositeInnerType, FuncType, Parser, Payload, TypeRef};

use super::{entropy, operand};

/// The module that these functions are imported from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const BAD_DESCRIPTOR: i32 = 8;
const NOT_SUPPORTED: i32 = 52;
const NOT_SEEKABLE: i32 = 70;

/// The last of the descriptors that are open: standard input, output and error.
const LAST_STANDARD: i32 = 2;
const CHARACTER_DEVICE: i32 = 2;

/// Index of the function that yields chance, before the answers.
const NEXT: u32 = 0;

/// One imported function.
struct Asked {
    name: String,
    params: Vec<ValType>,
    results: Vec<ValType>,
}

/// A module that exports an answer to each import of `core_wasm` from [`MODULE`]; none when it has none.
pub(crate) fn answers(core_wasm: &[u8]) -> Result<Option<Vec<u8>>, BinaryReaderError> {
    let asked = asked(core_wasm)?;
    if asked.is_empty() {
        return Ok(None);
    }
    let mut types = TypeSection::new();
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    types.ty().function([], [ValType::I64]);
    functions.function(0);
    code.function(&entropy::next(0));
    for (index, function) in (1..).zip(&asked) {
        types.ty().function(function.params.iter().copied(), function.results.iter().copied());
        functions.function(index);
        exports.export(&function.name, ExportKind::Func, index);
        code.function(&answer(function));
    }
    let mut imports = ImportSection::new();
    let memory =
        MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    imports.import("env", "memory", EntityType::Memory(memory));
    let mut globals = GlobalSection::new();
    entropy::declare_state(&mut globals);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&globals);
    module.section(&exports).section(&code);
    Ok(Some(module.finish()))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the format's sections, of which two matter")]
fn asked(core_wasm: &[u8]) -> Result<Vec<Asked>, BinaryReaderError> {
    let mut types: Vec<Option<FuncType>> = Vec::new();
    let mut asked: Vec<Asked> = Vec::new();
    for payload in Parser::new(0).parse_all(core_wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(function) => Some(function),
                        CompositeInnerType::Array(_)
                        | CompositeInnerType::Cont(_)
                        | CompositeInnerType::Struct(_) => None,
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    let TypeRef::Func(ty) = import.ty else { continue };
                    let ty = usize::try_from(ty).ok().and_then(|ty| types.get(ty)).and_then(Option::as_ref);
                    let (Some(ty), true) = (ty, import.module == MODULE) else { continue };
                    if asked.iter().any(|earlier| earlier.name == import.name) {
                        continue;
                    }
                    let (Some(params), Some(results)) = (plain(ty.params()), plain(ty.results())) else {
                        continue;
                    };
                    asked.push(Asked { name: import.name.to_owned(), params, results });
                }
            }
            // The rest of a module says nothing about its imports.
            _ => {}
        }
    }
    Ok(asked)
}

/// The types that this interface uses; none when there are others among them.
fn plain(types: &[wasmparser::ValType]) -> Option<Vec<ValType>> {
    types
        .iter()
        .map(|ty| match ty {
            wasmparser::ValType::I32 => Some(ValType::I32),
            wasmparser::ValType::I64 => Some(ValType::I64),
            wasmparser::ValType::F32
            | wasmparser::ValType::F64
            | wasmparser::ValType::V128
            | wasmparser::ValType::Ref(_) => None,
        })
        .collect()
}

/// The answer to one function. A module that imports it with other types than it has will not validate.
fn answer(asked: &Asked) -> Function {
    match asked.name.as_str() {
        "args_get" | "environ_get" | "fd_close" | "fd_sync" | "fd_datasync" | "sched_yield" => {
            returns(SUCCESS)
        }
        "args_sizes_get" | "environ_sizes_get" => zeros(&[(0, WORD), (1, WORD)]),
        "clock_res_get" => zeros(&[(1, LONG)]),
        "clock_time_get" => zeros(&[(2, LONG)]),
        "fd_fdstat_get" => descriptor_status(),
        "fd_prestat_get" | "fd_prestat_dir_name" => returns(BAD_DESCRIPTOR),
        "fd_read" => of_standard_descriptors(|code| {
            code.instructions().local_get(3).i32_const(0).i32_store(operand(0, WORD));
        }),
        "fd_seek" | "fd_tell" => returns(NOT_SEEKABLE),
        "fd_write" => swallow(),
        "random_get" => {
            let mut function = Function::new([]);
            entropy::fill(&mut function, NEXT, 0, 1);
            function.instructions().i32_const(SUCCESS).end();
            function
        }
        "proc_exit" | "proc_raise" => trap(),
        _ if asked.results == [ValType::I32] => returns(NOT_SUPPORTED),
        _ => trap(),
    }
}

/// Alignments of the two widths that are stored.
const WORD: u32 = 2;
const LONG: u32 = 3;

fn returns(errno: i32) -> Function {
    let mut function = Function::new([]);
    function.instructions().i32_const(errno).end();
    function
}

fn trap() -> Function {
    let mut function = Function::new([]);
    function.instructions().unreachable().end();
    function
}

/// Writes zero, as wide as is aligned, through the pointers in these parameters.
fn zeros(pointers: &[(u32, u32)]) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for (pointer, width) in pointers {
        code.local_get(*pointer);
        if *width == LONG {
            code.i64_const(0).i64_store(operand(0, LONG));
        } else {
            code.i32_const(0).i32_store(operand(0, WORD));
        }
    }
    code.i32_const(SUCCESS).end();
    function
}

/// Does something for the standard descriptors, and knows no others.
fn of_standard_descriptors(then: impl FnOnce(&mut Function)) -> Function {
    let mut function = Function::new([(2, ValType::I32)]);
    let mut code = function.instructions();
    code.local_get(0).i32_const(LAST_STANDARD).i32_gt_u().if_(BlockType::Empty);
    code.i32_const(BAD_DESCRIPTOR).return_().end();
    then(&mut function);
    function.instructions().i32_const(SUCCESS).end();
    function
}

/// What a terminal would say, so that C libraries neither buffer nor seek: no rights are withheld.
fn descriptor_status() -> Function {
    of_standard_descriptors(|function| {
        let mut code = function.instructions();
        code.local_get(1).i32_const(CHARACTER_DEVICE).i32_store(operand(0, WORD));
        code.local_get(1).i64_const(-1).i64_store(operand(8, LONG));
        code.local_get(1).i64_const(-1).i64_store(operand(16, LONG));
    })
}

/// Says that all of the pieces were written: (descriptor, pieces, count, where the sum goes).
fn swallow() -> Function {
    const PIECES: u32 = 1;
    const COUNT: u32 = 2;
    const SUM: u32 = 4;
    of_standard_descriptors(|function| {
        let mut code = function.instructions();
        code.block(BlockType::Empty).loop_(BlockType::Empty);
        code.local_get(COUNT).i32_eqz().br_if(1);
        code.local_get(SUM).local_get(PIECES).i32_load(operand(4, WORD)).i32_add().local_set(SUM);
        code.local_get(PIECES).i32_const(8).i32_add().local_set(PIECES);
        code.local_get(COUNT).i32_const(1).i32_sub().local_set(COUNT);
        code.br(0).end().end();
        code.local_get(3).local_get(SUM).i32_store(operand(0, WORD));
    })
}
