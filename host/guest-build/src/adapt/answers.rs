//! What each WASI function answers, as core functions that work on the strategy's own memory.
//!
//! They have the shape that the canonical ABI gives to lowered imports: flat parameters, and a pointer to
//! where the result goes unless it is one number. Most results are all zeros, which mean empty, none or
//! success; lists are empty but not at address zero, because that is what a host would do.

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function as Body, FunctionSection, GlobalSection,
    ImportSection, MemoryType, Module, TypeSection, ValType,
};
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};
use wit_parser::{Function, Handle, Int, Resolve, SizeAlign, Type, TypeDefKind, TypeId};

use super::{entropy, operand};

/// The module that the strategy's memory and allocator are imported from.
pub(super) const STRATEGY: &str = "strategy";
/// Its memory there.
pub(super) const MEMORY: &str = "memory";
/// Its allocator there, with the signature that the canonical ABI gives it.
pub(super) const ALLOCATE: &str = "allocate";
/// The answer to dropping a handle.
pub(super) const DROP: &str = "drop";

/// The most bytes of chance that are handed out at once: more than this is no seed.
const MOST_BYTES: i64 = 65_536;
/// The most that can be written at once; more than any runtime's buffer.
const WRITABLE: i64 = 65_536;
/// Every handle: there is nothing to tell apart.
const HANDLE: i32 = 1;
/// Where empty lists are: nowhere, but aligned for whatever they might hold.
const NOWHERE: i32 = 8;

/// One lowered function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Its interface, with version.
    pub(super) interface: &'a str,
    /// What it is.
    pub(super) function: &'a Function,
}

impl Asked<'_> {
    fn answer(self) -> Answer {
        let interface = self.interface.split_once('@').map_or(self.interface, |(name, _)| name);
        answer(interface, &self.function.name)
    }
}

/// Under which name the answer to a function is exported.
pub(super) fn export(interface: &str, function: &str) -> String {
    format!("{interface}#{function}")
}

/// What the answers may use of the strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Nothing: neither parameters nor results are in memory.
    Nothing,
    /// Its memory.
    Memory,
    /// Its memory, and the function that allocates there.
    Allocator,
}

impl Access {
    /// What it takes to answer `function`.
    fn needed(function: Asked<'_>, signature: &WasmSignature) -> Self {
        let pointers = signature.params.contains(&WasmType::Pointer);
        match function.answer() {
            Answer::Bytes | Answer::FirstReady => Self::Allocator,
            Answer::AtEnd | Answer::Number | Answer::Room | Answer::Trap | Answer::True | Answer::Zero => {
                if pointers {
                    Self::Memory
                } else {
                    Self::Nothing
                }
            }
        }
    }
}

/// How one function is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// `stream-error::closed`.
    AtEnd,
    /// As many bytes from the fixed sequence as were asked for.
    Bytes,
    /// A list that names the first of those asked about.
    FirstReady,
    /// A number from the fixed sequence.
    Number,
    /// Success with room for more.
    Room,
    /// There is no good answer: the strategy must not go on.
    Trap,
    /// True.
    True,
    /// Zeros.
    Zero,
}

/// How `function` of `interface` (without its version) is answered.
fn answer(interface: &str, function: &str) -> Answer {
    match (interface, function) {
        (
            "wasi:cli/environment"
            | "wasi:cli/stderr"
            | "wasi:cli/stdin"
            | "wasi:cli/stdout"
            | "wasi:cli/terminal-stderr"
            | "wasi:cli/terminal-stdin"
            | "wasi:cli/terminal-stdout"
            | "wasi:clocks/monotonic-clock"
            | "wasi:clocks/wall-clock"
            | "wasi:random/insecure-seed",
            _,
        )
        | ("wasi:filesystem/preopens", "get-directories")
        | ("wasi:filesystem/types", "filesystem-error-code")
        | ("wasi:io/error", "[method]error.to-debug-string")
        | ("wasi:io/poll", "[method]pollable.block")
        | ("wasi:io/streams", "[method]output-stream.subscribe" | "[method]input-stream.subscribe") => {
            Answer::Zero
        }
        ("wasi:io/poll", "[method]pollable.ready") => Answer::True,
        ("wasi:io/poll", "poll") => Answer::FirstReady,
        ("wasi:io/streams", "[method]output-stream.check-write") => Answer::Room,
        ("wasi:io/streams", "[method]output-stream.splice" | "[method]output-stream.blocking-splice") => {
            Answer::AtEnd
        }
        ("wasi:io/streams", input) if input.starts_with("[method]input-stream.") => Answer::AtEnd,
        ("wasi:io/streams", output) if output.starts_with("[method]output-stream.") => Answer::Zero,
        ("wasi:random/random" | "wasi:random/insecure", name) if name.ends_with("-u64") => Answer::Number,
        ("wasi:random/random" | "wasi:random/insecure", name) if name.ends_with("-bytes") => Answer::Bytes,
        _ => Answer::Trap,
    }
}

/// A core module that exports answers to those functions asked that can be answered with `access`, and to
/// dropping handles.
///
/// Functions that need no memory are only in the module without access. The error names a function that has
/// another type than any release of its interface gives it.
pub(super) fn module(
    resolve: &Resolve,
    sizes: &SizeAlign,
    asked: &[Asked<'_>],
    access: Access,
) -> Result<Vec<u8>, String> {
    let mut made = Made::new(access);
    let next_number = made.define(&[], &[ValType::I64], &entropy::next(0));
    let mut nothing = Body::new([]);
    nothing.instructions().end();
    let drop = made.define(&[ValType::I32], &[], &nothing);
    made.exports.export(DROP, ExportKind::Func, drop);
    let answers = Answers { resolve, sizes, next_number };
    for asked in asked {
        let signature = resolve.wasm_signature(AbiVariant::GuestImport, asked.function);
        let needed = Access::needed(*asked, &signature);
        if needed > access || (needed == Access::Nothing) != (access == Access::Nothing) {
            continue;
        }
        let name = export(asked.interface, &asked.function.name);
        let body = answers
            .body(asked.answer(), asked.function, &signature)
            .ok_or_else(|| format!("{name} has a type that no release of its interface gives it"))?;
        let plain = |types: &[WasmType]| types.iter().map(core_type).collect::<Vec<_>>();
        let index = made.define(&plain(&signature.params), &plain(&signature.results), &body);
        made.exports.export(&name, ExportKind::Func, index);
    }
    Ok(made.finish())
}

/// A module in the making.
struct Made {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    exports: ExportSection,
    code: CodeSection,
    type_count: u32,
    function_count: u32,
}

impl Made {
    fn new(access: Access) -> Self {
        let mut types = TypeSection::new();
        let mut imports = ImportSection::new();
        types.ty().function([ValType::I32; 4], [ValType::I32]);
        let memory =
            MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
        if access != Access::Nothing {
            imports.import(STRATEGY, MEMORY, EntityType::Memory(memory));
        }
        if access == Access::Allocator {
            imports.import(STRATEGY, ALLOCATE, EntityType::Function(0));
        }
        Self {
            types,
            imports,
            functions: FunctionSection::new(),
            exports: ExportSection::new(),
            code: CodeSection::new(),
            type_count: 1,
            function_count: u32::from(access == Access::Allocator),
        }
    }

    fn define(&mut self, params: &[ValType], results: &[ValType], body: &Body) -> u32 {
        self.types.ty().function(params.iter().copied(), results.iter().copied());
        self.functions.function(self.type_count);
        self.code.function(body);
        self.type_count += 1;
        self.function_count += 1;
        self.function_count - 1
    }

    fn finish(self) -> Vec<u8> {
        let mut globals = GlobalSection::new();
        entropy::declare_state(&mut globals);
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions);
        module.section(&globals).section(&self.exports).section(&self.code);
        module.finish()
    }
}

fn core_type(ty: &WasmType) -> ValType {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => ValType::I32,
        WasmType::I64 | WasmType::PointerOrI64 => ValType::I64,
        WasmType::F32 => ValType::F32,
        WasmType::F64 => ValType::F64,
    }
}

/// The strategy's allocator is imported, and so is the first function.
const ALLOCATOR: u32 = 0;

struct Answers<'a> {
    resolve: &'a Resolve,
    sizes: &'a SizeAlign,
    /// The function that yields chance.
    next_number: u32,
}

impl Answers<'_> {
    /// None when the function's type does not allow that answer.
    fn body(&self, how: Answer, function: &Function, signature: &WasmSignature) -> Option<Body> {
        let params = u32::try_from(signature.params.len()).ok()?;
        // Two more locals than parameters.
        let mut body = Body::new([(2, ValType::I32)]);
        if signature.retptr {
            let goes_to = params.checked_sub(1)?;
            if how != Answer::Trap {
                let size = i32::try_from(self.sizes.size(function.result.as_ref()?).size_wasm32()).ok()?;
                body.instructions().local_get(goes_to).i32_const(0).i32_const(size).memory_fill(0);
            }
            self.store(&mut body, how, function, signature, goes_to)?;
        } else {
            self.push(&mut body, how, function, signature)?;
        }
        body.instructions().end();
        Some(body)
    }

    /// Answers with nothing or one number.
    fn push(
        &self,
        body: &mut Body,
        how: Answer,
        function: &Function,
        signature: &WasmSignature,
    ) -> Option<()> {
        let mut code = body.instructions();
        match (how, signature.results.as_slice(), &function.result) {
            (Answer::Trap, _, _) => code.unreachable(),
            (Answer::True, [WasmType::I32], Some(Type::Bool)) => code.i32_const(1),
            (Answer::Number, [WasmType::I64], _) => code.call(self.next_number),
            (Answer::Zero, [], _) => &mut code,
            (Answer::Zero, [WasmType::I32], Some(ty)) if self.is_owned(ty) => code.i32_const(HANDLE),
            (Answer::Zero, [WasmType::I32], _) => code.i32_const(0),
            (Answer::Zero, [WasmType::I64], _) => code.i64_const(0),
            _ => return None,
        };
        Some(())
    }

    /// Answers through the pointer in local `goes_to`, where all is zero already.
    fn store(
        &self,
        body: &mut Body,
        how: Answer,
        function: &Function,
        signature: &WasmSignature,
        goes_to: u32,
    ) -> Option<()> {
        let ty = function.result.as_ref()?;
        match how {
            Answer::Trap => {
                body.instructions().unreachable();
            }
            Answer::Zero => self.complete(body, ty, goes_to, 0)?,
            Answer::Room => {
                let (ok, err) = self.result(ty)?;
                (ok == Some(Type::U64)).then_some(())?;
                let at = self.payload(ok.as_ref(), err.as_ref())?;
                body.instructions().local_get(goes_to).i64_const(WRITABLE).i64_store(operand(at, 3));
            }
            Answer::AtEnd => {
                let (ok, err) = self.result(ty)?;
                let at = self.payload(ok.as_ref(), err.as_ref())?;
                let closed = i32::from(self.case(&err?, "closed")?);
                let mut code = body.instructions();
                code.local_get(goes_to).i32_const(1).i32_store8(operand(0, 0));
                code.local_get(goes_to).i32_const(closed).i32_store8(operand(at, 0));
            }
            Answer::FirstReady => {
                let at = goes_to + 1;
                let mut code = body.instructions();
                code.i32_const(0).i32_const(0).i32_const(4).i32_const(4).call(ALLOCATOR).local_tee(at);
                code.i32_const(0).i32_store(operand(0, 2));
                code.local_get(goes_to).local_get(at).i32_store(operand(0, 2));
                code.local_get(goes_to).i32_const(1).i32_store(operand(4, 2));
            }
            Answer::Bytes => {
                (signature.params.first() == Some(&WasmType::I64)).then_some(())?;
                let (at, count) = (goes_to + 2, goes_to + 1);
                let mut code = body.instructions();
                code.local_get(0).i64_const(MOST_BYTES).i64_gt_u();
                code.if_(wasm_encoder::BlockType::Empty).unreachable().end();
                code.local_get(0).i32_wrap_i64().local_set(count);
                code.i32_const(0).i32_const(0).i32_const(1).local_get(count).call(ALLOCATOR).local_set(at);
                code.local_get(goes_to).local_get(at).i32_store(operand(0, 2));
                code.local_get(goes_to).local_get(count).i32_store(operand(4, 2));
                entropy::fill(body, self.next_number, at, count);
            }
            Answer::Number | Answer::True => return None,
        }
        Some(())
    }

    /// Stores what is not zero in the zero value of `ty`: handles, and where empty lists are.
    fn complete(&self, body: &mut Body, ty: &Type, goes_to: u32, at: u32) -> Option<()> {
        let id = match ty {
            Type::String => {
                body.instructions().local_get(goes_to).i32_const(NOWHERE).i32_store(operand(at, 2));
                return Some(());
            }
            Type::Id(_) => self.behind(ty)?,
            Type::Bool
            | Type::Char
            | Type::ErrorContext
            | Type::F32
            | Type::F64
            | Type::S8
            | Type::S16
            | Type::S32
            | Type::S64
            | Type::U8
            | Type::U16
            | Type::U32
            | Type::U64 => return Some(()),
        };
        match &self.resolve.types[id].kind {
            TypeDefKind::Handle(_) => {
                body.instructions().local_get(goes_to).i32_const(HANDLE).i32_store(operand(at, 2));
                Some(())
            }
            TypeDefKind::List(_) => self.complete(body, &Type::String, goes_to, at),
            TypeDefKind::Record(record) => {
                self.each_field(body, record.fields.iter().map(|field| &field.ty), goes_to, at)
            }
            TypeDefKind::Tuple(tuple) => self.each_field(body, tuple.types.iter(), goes_to, at),
            TypeDefKind::Result(result) => match &result.ok {
                None => Some(()),
                Some(ok) => {
                    let payload = self.payload(Some(ok), result.err.as_ref())?;
                    self.complete(body, ok, goes_to, at + payload)
                }
            },
            TypeDefKind::Type(primitive) => self.complete(body, primitive, goes_to, at),
            // Zero is none, no flag, or the first case.
            TypeDefKind::Enum(_) | TypeDefKind::Flags(_) | TypeDefKind::Option(_) => Some(()),
            TypeDefKind::Variant(variant) => variant.cases.first()?.ty.is_none().then_some(()),
            TypeDefKind::FixedLengthList(..)
            | TypeDefKind::Future(_)
            | TypeDefKind::Map(..)
            | TypeDefKind::Resource
            | TypeDefKind::Stream(_)
            | TypeDefKind::Unknown => None,
        }
    }

    fn each_field<'t>(
        &self,
        body: &mut Body,
        fields: impl Iterator<Item = &'t Type>,
        goes_to: u32,
        at: u32,
    ) -> Option<()> {
        for (offset, ty) in self.sizes.field_offsets(fields) {
            self.complete(body, ty, goes_to, at + u32::try_from(offset.size_wasm32()).ok()?)?;
        }
        Some(())
    }

    /// The type behind names; none for types that have no definition.
    fn behind(&self, ty: &Type) -> Option<TypeId> {
        let Type::Id(mut id) = *ty else { return None };
        while let TypeDefKind::Type(Type::Id(aliased)) = self.resolve.types[id].kind {
            id = aliased;
        }
        Some(id)
    }

    fn is_owned(&self, ty: &Type) -> bool {
        let id = self.behind(ty);
        id.is_some_and(|id| matches!(self.resolve.types[id].kind, TypeDefKind::Handle(Handle::Own(_))))
    }

    fn result(&self, ty: &Type) -> Option<(Option<Type>, Option<Type>)> {
        let TypeDefKind::Result(result) = &self.resolve.types[self.behind(ty)?].kind else { return None };
        Some((result.ok, result.err))
    }

    /// Where in a result its payload is.
    fn payload(&self, ok: Option<&Type>, err: Option<&Type>) -> Option<u32> {
        u32::try_from(self.sizes.payload_offset(Int::U8, [ok, err]).size_wasm32()).ok()
    }

    /// The number of a variant's case, if it has no more than a byte can tell apart.
    fn case(&self, ty: &Type, name: &str) -> Option<u8> {
        let TypeDefKind::Variant(variant) = &self.resolve.types[self.behind(ty)?].kind else { return None };
        u8::try_from(variant.cases.iter().position(|case| case.name == name)?).ok()
    }
}
