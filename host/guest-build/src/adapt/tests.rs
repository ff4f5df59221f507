//! What is adapted imports nothing of WASI, is valid, and is the same every time.

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};
use wasmparser::{Validator, WasmFeatures};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{
    LiftLowerAbi, ManglingAndAbi, Resolve, ResourceIntrinsic, TypeDefKind, WasmImport, WorldId, WorldItem,
    WorldKey,
};

use super::*;
use crate::contract;

/// What runtimes import, with every shape of answer: flat, lists, handles in results, records, options.
const WASI: &str = r#"
    package wasi:io@0.2.6 {
        interface error { resource error { to-debug-string: func() -> string; } }
        interface poll {
            resource pollable { ready: func() -> bool; block: func(); }
            poll: func(in: list<borrow<pollable>>) -> list<u32>;
        }
        interface streams {
            use error.{error};
            use poll.{pollable};
            variant stream-error { last-operation-failed(error), closed }
            resource input-stream {
                read: func(len: u64) -> result<list<u8>, stream-error>;
                blocking-read: func(len: u64) -> result<list<u8>, stream-error>;
                skip: func(len: u64) -> result<u64, stream-error>;
                subscribe: func() -> pollable;
            }
            resource output-stream {
                check-write: func() -> result<u64, stream-error>;
                write: func(contents: list<u8>) -> result<_, stream-error>;
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
                blocking-flush: func() -> result<_, stream-error>;
                subscribe: func() -> pollable;
                splice: func(src: borrow<input-stream>, len: u64) -> result<u64, stream-error>;
            }
        }
    }
    package wasi:cli@0.2.6 {
        interface environment {
            get-environment: func() -> list<tuple<string, string>>;
            get-arguments: func() -> list<string>;
            initial-cwd: func() -> option<string>;
        }
        interface exit { exit: func(status: result); }
        interface stdin { use wasi:io/streams@0.2.6.{input-stream}; get-stdin: func() -> input-stream; }
        interface stdout { use wasi:io/streams@0.2.6.{output-stream}; get-stdout: func() -> output-stream; }
        interface terminal-output { resource terminal-output; }
        interface terminal-stdout {
            use terminal-output.{terminal-output};
            get-terminal-stdout: func() -> option<terminal-output>;
        }
    }
    package wasi:clocks@0.2.6 {
        interface monotonic-clock {
            use wasi:io/poll@0.2.6.{pollable};
            now: func() -> u64;
            subscribe-duration: func(when: u64) -> pollable;
        }
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
        }
    }
    package wasi:filesystem@0.2.6 {
        interface types {
            use wasi:io/streams@0.2.6.{output-stream};
            enum error-code { access, would-block }
            resource descriptor {
                write-via-stream: func(offset: u64) -> result<output-stream, error-code>;
                read: func(length: u64, offset: u64) -> result<tuple<list<u8>, bool>, error-code>;
            }
        }
        interface preopens {
            use types.{descriptor};
            get-directories: func() -> list<tuple<descriptor, string>>;
        }
    }
    package wasi:random@0.2.6 {
        interface random { get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64; }
        interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }
    }
"#;

const WORLD: &str = "
    world w {
        import wasi:io/error@0.2.6;
        import wasi:io/poll@0.2.6;
        import wasi:io/streams@0.2.6;
        import wasi:cli/environment@0.2.6;
        import wasi:cli/exit@0.2.6;
        import wasi:cli/stdin@0.2.6;
        import wasi:cli/stdout@0.2.6;
        import wasi:cli/terminal-output@0.2.6;
        import wasi:cli/terminal-stdout@0.2.6;
        import wasi:clocks/monotonic-clock@0.2.6;
        import wasi:clocks/wall-clock@0.2.6;
        import wasi:filesystem/types@0.2.6;
        import wasi:filesystem/preopens@0.2.6;
        import wasi:random/random@0.2.6;
        import wasi:random/insecure-seed@0.2.6;
        import enid:strategy/log@0.1.0;
    }
";

/// A component that imports, and uses, all of a world's imports.
fn component_of(world: &str, packages: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_source("strategy.wit", contract::WIT).unwrap();
    let package = resolve.push_source("test.wit", &format!("package enid:test; {world} {packages}")).unwrap();
    let world = resolve.select_world(&[package], Some("w")).unwrap();
    let mut module = using_all(&resolve, world);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module).unwrap();
    encoder.encode().unwrap()
}

fn using_all(resolve: &Resolve, world: WorldId) -> Vec<u8> {
    const ABI: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let mut used = Vec::new();
    for (key, item) in &resolve.worlds[world].imports {
        let WorldItem::Interface { id, .. } = item else { continue };
        let interface: Option<&WorldKey> = Some(key);
        for func in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, func);
            let name = resolve.wasm_import_name(ABI, WasmImport::Func { interface, func });
            used.push((name, core(&signature.params), core(&signature.results)));
        }
        for resource in resolve.interfaces[*id].types.values() {
            if matches!(resolve.types[*resource].kind, TypeDefKind::Resource) {
                let intrinsic = ResourceIntrinsic::ImportedDrop;
                let import = WasmImport::ResourceIntrinsic { interface, resource: *resource, intrinsic };
                used.push((resolve.wasm_import_name(ABI, import), vec![ValType::I32], Vec::new()));
            }
        }
    }
    let used: Vec<_> = used
        .iter()
        .map(|((module, name), params, results)| (module.as_str(), name.as_str(), params, results))
        .collect();
    importing(&used)
}

fn core(types: &[WasmType]) -> Vec<ValType> {
    let wide = |ty: &WasmType| matches!(ty, WasmType::I64 | WasmType::PointerOrI64);
    types.iter().map(|ty| if wide(ty) { ValType::I64 } else { ValType::I32 }).collect()
}

type Imported<'a> = (&'a str, &'a str, &'a Vec<ValType>, &'a Vec<ValType>);

/// A core module with these imports, a memory and an allocator.
fn importing(imported: &[Imported<'_>]) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    let mut imports = ImportSection::new();
    for (ty, (module, name, params, results)) in (1..).zip(imported) {
        types.ty().function(params.iter().copied(), results.iter().copied());
        imports.import(module, name, EntityType::Function(ty));
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("cabi_realloc", ExportKind::Func, u32::try_from(imported.len()).unwrap());
    let mut allocate = Function::new([]);
    allocate.instructions().unreachable().end();
    let mut code = CodeSection::new();
    code.function(&allocate);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&memories);
    module.section(&exports).section(&code);
    module.finish()
}

/// As a host validates that grants nothing which strategies do not need.
fn validate_as_a_host(component: &[u8]) {
    let mut features = WasmFeatures::default();
    for off in [
        WasmFeatures::MULTI_MEMORY,
        WasmFeatures::MEMORY64,
        WasmFeatures::SIMD,
        WasmFeatures::THREADS,
        WasmFeatures::EXCEPTIONS,
        WasmFeatures::GC,
    ] {
        features.remove(off);
    }
    Validator::new_with_features(features).validate_all(component).unwrap();
}

#[test]
fn no_wasi_import_is_left_and_the_contract_stays() {
    let component = component_of(WORLD, WASI);
    assert_eq!(imports(&component).unwrap().len(), 16);
    let adapted = adapt(&component).unwrap();
    assert_eq!(imports(&adapted).unwrap(), ["enid:strategy/log@0.1.0"]);
    validate_as_a_host(&adapted);
    assert_eq!(adapt(&component).unwrap(), adapted, "the same input gives the same output");
    assert_eq!(adapt(&adapted).unwrap(), adapted, "there is nothing left to do");
}

#[test]
fn what_is_neither_contract_nor_wasi_is_named_and_refused() {
    let foreign = "package some:where@1.0.0 { interface thing { poke: func(); } }";
    let component = component_of("world w { import some:where/thing@1.0.0; }", foreign);
    let error = adapt(&component).unwrap_err().to_string();
    assert!(error.contains("some:where/thing@1.0.0"), "{error}");
    let newer = "package wasi:cli@0.3.0 { interface exit { exit: func(); } }";
    let component = component_of("world w { import wasi:cli/exit@0.3.0; }", newer);
    assert!(adapt(&component).unwrap_err().to_string().contains("wasi:cli/exit@0.3.0"));
}

#[test]
fn a_function_of_another_type_is_named_and_refused() {
    let odd = "package wasi:random@0.2.6 { interface random { get-random-u64: func() -> string; } }";
    let component = component_of("world w { import wasi:random/random@0.2.6; }", odd);
    let error = adapt(&component).unwrap_err().to_string();
    assert!(error.contains("get-random-u64"), "{error}");
}

#[test]
fn garbage_is_refused() {
    assert!(adapt(b"").is_err());
    assert!(adapt(b"\0asm\x0d\0\x01\0garbage").is_err());
    let component = component_of(WORLD, WASI);
    assert!(adapt(&component[..component.len() / 2]).is_err());
}

#[test]
fn the_first_wasi_is_answered_inside_the_component() {
    let (word, long) = (ValType::I32, ValType::I64);
    let imported = [
        ("fd_write", vec![word; 4], vec![word]),
        ("fd_read", vec![word; 4], vec![word]),
        ("fd_seek", vec![word, long, word, word], vec![word]),
        ("fd_fdstat_get", vec![word; 2], vec![word]),
        ("fd_close", vec![word], vec![word]),
        ("fd_prestat_get", vec![word; 2], vec![word]),
        ("environ_sizes_get", vec![word; 2], vec![word]),
        ("environ_get", vec![word; 2], vec![word]),
        ("clock_time_get", vec![word, long, word], vec![word]),
        ("random_get", vec![word; 2], vec![word]),
        ("proc_exit", vec![word], vec![]),
        ("path_open", vec![word, word, word, word, word, long, long, word, word], vec![word]),
        ("of_a_later_release", vec![long], vec![long]),
    ];
    let named: Vec<Imported<'_>> =
        imported.iter().map(|(name, params, results)| (preview1::MODULE, *name, params, results)).collect();
    let component = componentize(&importing(&named)).unwrap();
    assert!(imports(&component).unwrap().is_empty());
    validate_as_a_host(&component);
    let (params, results) = (vec![long], vec![word]);
    let odd = importing(&[(preview1::MODULE, "fd_write", &params, &results)]);
    assert!(componentize(&odd).is_err(), "a function of another type is refused");
}
