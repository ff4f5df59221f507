//! Whatever is offered, admission lets it in or refuses it by name; it never panics, hangs or overflows.
//!
//! `ENID_FUZZ_RUNS` says how often it is tried, `ENID_FUZZ_SEED` from where on; the seed of a run is printed.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use arbitrary::{Arbitrary as _, Unstructured};
use enid_policy_wasm::{Kind, Limits};
use guests::assembly::{modules, section, sections, with_module};
use guests::chance::{Chance, seeds};
use guests::{Hostile, Site, guest};
use wasm_mutate::WasmMutate;
use wasm_smith::{Component, Config, Module};

/// Enough for some ten seconds.
const RUNS: u64 = 1500;
/// Runs from which on something of everything must have happened.
const MANY: u64 = 300;
/// Bytes of chance that one generated module or component is made of.
const MATTER: usize = 4096;

/// What a core module of the shell looks like from outside.
const SHAPE: &str = r#"(module
    (import "libc" "memory" (memory 1))
    (import "log" "emit" (func (param i32 i32 i32)))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (unreachable))
    (func (export "describe") (result i32) (unreachable))
    (func (export "check-settings") (param i32 i32) (result i32) (unreachable))
    (func (export "decide") (param i32) (result i32) (unreachable))
    (func (export "post-decide") (param i32)))"#;

/// What mutations start from.
struct Stock {
    shipped: Vec<(Kind, Vec<u8>)>,
    corpus: Vec<Hostile>,
    shell: Vec<u8>,
    shape: Vec<u8>,
}

impl Stock {
    fn gather() -> Result<Self> {
        let shipped = [
            (Kind::WarmPool, "batched"),
            (Kind::MaxPods, "eks-max-pods"),
            (Kind::SubnetSelection, "most-free"),
            (Kind::WarmPool, "warm-targets"),
        ];
        let read = |(kind, name): (Kind, &str)| -> Result<(Kind, Vec<u8>)> {
            Ok((kind, std::fs::read(guests::shipped()?.join(format!("{name}.wasm")))?))
        };
        // The compilers' bombs are another test's; damaged, they would only be slow.
        let mut corpus = Hostile::all()?;
        corpus.retain(|hostile| hostile.bytes.len() < 64 << 10);
        Ok(Self {
            shipped: shipped.into_iter().map(read).collect::<Result<_>>()?,
            corpus,
            shell: guest("")?,
            shape: wat::parse_str(SHAPE)?,
        })
    }
}

/// How bytes come about.
const WAYS: [(&str, Way); 5] = [
    ("smith-component", smith_component),
    ("smith-strategy", smith_strategy),
    ("mutated-strategy", mutated_strategy),
    ("damaged-strategy", damaged_strategy),
    ("damaged-hostile", damaged_hostile),
];

type Way = fn(&Stock, &mut Chance) -> Result<Option<(Kind, Vec<u8>)>>;

/// Any component at all.
fn smith_component(_: &Stock, chance: &mut Chance) -> Result<Option<(Kind, Vec<u8>)>> {
    let matter = chance.bytes(MATTER);
    let mut matter = Unstructured::new(&matter);
    let config = Config { max_nesting_depth: 5, ..Config::arbitrary(&mut matter)? };
    // Chance may run out, or choose bounds that contradict one another.
    Ok(Component::new(config, &mut matter).ok().map(|component| (Kind::WarmPool, component.to_bytes())))
}

/// A component with the contract's outside and anything within.
fn smith_strategy(stock: &Stock, chance: &mut Chance) -> Result<Option<(Kind, Vec<u8>)>> {
    let matter = chance.bytes(MATTER);
    let mut matter = Unstructured::new(&matter);
    let config = Config {
        module_shape: Some(stock.shape.clone()),
        acquire_release_atomics_enabled: false,
        compact_imports_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        memory64_enabled: false,
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        simd_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        ..Config::default()
    };
    let Ok(module) = Module::new(config, &mut matter) else { return Ok(None) };
    Ok(Some((Kind::WarmPool, with_module(&stock.shell, 1, &module.to_bytes())?)))
}

/// A shipped component with one change in its code.
fn mutated_strategy(stock: &Stock, chance: &mut Chance) -> Result<Option<(Kind, Vec<u8>)>> {
    let (kind, component) = chance.pick(&stock.shipped);
    let within = modules(component)?;
    let position = chance.below(within.len());
    let mut mutate = WasmMutate::default();
    mutate.seed(chance.number()).preserve_semantics(chance.below(2) == 0).fuel(300);
    let Ok(mut mutants) = mutate.run(within[position]) else { return Ok(None) };
    let Some(Ok(mutant)) = mutants.next() else { return Ok(None) };
    Ok(Some((*kind, with_module(component, position, &mutant)?)))
}

/// A shipped component with bytes or sections out of order.
fn damaged_strategy(stock: &Stock, chance: &mut Chance) -> Result<Option<(Kind, Vec<u8>)>> {
    let (kind, component) = chance.pick(&stock.shipped);
    Ok(Some((*kind, damaged(component, chance))))
}

/// A hostile guest with bytes or sections out of order.
fn damaged_hostile(stock: &Stock, chance: &mut Chance) -> Result<Option<(Kind, Vec<u8>)>> {
    let hostile = chance.pick(&stock.corpus);
    Ok(Some((hostile.kind, damaged(&hostile.bytes, chance))))
}

fn damaged(bytes: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    match (chance.below(4), sections(bytes)) {
        (0, Ok(parts)) if !parts.is_empty() => {
            // One section is lost, comes twice, or comes where another was.
            let (lost, copied) = (chance.below(parts.len()), chance.below(parts.len()));
            damaged.truncate(8);
            for (position, part) in parts.iter().enumerate() {
                let (id, content) = if position == lost { parts[copied] } else { *part };
                section(&mut damaged, id, content);
            }
        }
        (1, _) => damaged.truncate(chance.below(bytes.len() + 1)),
        (_, _) => {
            for _ in 0..=chance.below(8) {
                if !damaged.is_empty() {
                    let at = chance.below(damaged.len());
                    damaged[at] =
                        *chance.pick(&[0, 1, 0x7f, 0x80, 0xff, damaged[at] ^ 1, damaged[at].wrapping_add(1)]);
                }
            }
        }
    }
    damaged
}

#[test]
fn whatever_is_offered_is_let_in_or_refused_by_name() -> Result<()> {
    let stock = Stock::gather()?;
    let site = Site::in_process()?;
    let limits = Limits { fuel: 2_000_000, deadline: Limits::most().deadline, ..Limits::default() };
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut runs = 0;
    for seed in seeds("admission", RUNS)? {
        runs += 1;
        let mut chance = Chance::new(seed);
        let (name, way) = chance.pick(&WAYS);
        println!("run with seed {seed}: {name}");
        let Some((kind, bytes)) = way(&stock, &mut chance).with_context(|| format!("{name}, seed {seed}"))?
        else {
            continue;
        };
        let end = match site.examine(kind, &bytes, &limits) {
            Ok(_) => "let in".to_owned(),
            Err(refused) => {
                let shown = refused.to_string();
                ensure!(shown.len() < 8 << 10 && !shown.contains(char::is_control), "seed {seed}: {shown:?}");
                format!("{}: {}", refused.step(), refused.label())
            }
        };
        *ends.entry(format!("{name} {end}")).or_default() += 1;
    }
    println!("{ends:#?}");
    if runs >= MANY {
        for end in
            ["mutated-strategy let in", "damaged-strategy compile: invalid", "smith-component kind: no-kind"]
        {
            ensure!(ends.contains_key(end), "nothing came to `{end}`: {ends:#?}");
        }
        let deep = |end: &&String| end.starts_with("smith-strategy") && !end.contains("compile");
        ensure!(ends.keys().any(|end| deep(&end)), "no generated strategy ever ran: {ends:#?}");
    }
    Ok(())
}
