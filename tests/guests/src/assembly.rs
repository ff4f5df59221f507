//! Components out of text: a shell around a core module, repetition, and what is done to finished bytes.

use anyhow::{Context as _, bail, ensure};
use enid_core::kind::Kind;

/// The component of each kind that a core module is put into.
const WARM_POOL: &str = include_str!("../shells/warm-pool.wat");
const MAX_PODS: &str = include_str!("../shells/max-pods.wat");
const SUBNET_SELECTION: &str = include_str!("../shells/subnet-selection.wat");

/// What `{n}` stands for in the first copy of a repeated line: of five digits, like in all others.
const FIRST: usize = 10_000;
/// Copies that one line may ask for.
const MOST_COPIES: usize = 80_000;

/// What a module exports unless it brings its own: a harmless strategy that wants nothing.
///
/// Memory: the name at 16, the descriptor at 32, an empty list at 80, the answer at 1024, the heap from 4096.
const HARMLESS: [(&str, &str); 4] = [
    (
        "realloc",
        r#"(global $heap (mut i32) (i32.const 4096))
           (func (export "realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32)
             (local $at i32)
             (local.set $at (i32.and
               (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
               (i32.sub (i32.const 0) (local.get $align))))
             (global.set $heap (i32.add (local.get $at) (local.get $size)))
             (local.get $at))"#,
    ),
    (
        "describe",
        r#"(data (i32.const 16) "hostile")
           (data (i32.const 32) "\10\00\00\00\07\00\00\00")
           (func (export "describe") (result i32) (i32.const 32))"#,
    ),
    ("check-settings", r#"(func (export "check-settings") (param i32 i32) (result i32) (i32.const 80))"#),
    ("post-decide", r#"(func (export "post-decide") (param i32))"#),
];

/// A component that a test writes as the fields of a core module.
#[derive(Clone, Copy, Debug)]
pub struct Assembly<'a> {
    /// The kind of strategy that the component is.
    pub kind: Kind,
    /// The fields of its core module; exports that they do not have are harmless ones.
    pub fields: &'a str,
    /// Fields of the component around it, after everything else.
    pub beside: &'a str,
}

impl Assembly<'_> {
    /// The component's bytes.
    pub fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        let fields = repeated(self.fields)?;
        let mut module = fields.clone();
        for (export, harmless) in HARMLESS.into_iter().chain([("decide", harmless_decide(self.kind))]) {
            if !fields.contains(&format!("(export \"{export}\")")) {
                module.push('\n');
                module.push_str(harmless);
            }
        }
        let shell = match self.kind {
            Kind::WarmPool => WARM_POOL,
            Kind::MaxPods => MAX_PODS,
            Kind::SubnetSelection => SUBNET_SELECTION,
        };
        let text = shell.replace("{{guest}}", &module).replace("{{beside}}", &repeated(self.beside)?);
        wat::parse_str(text).context("assemble the guest")
    }
}

/// A warm-pool component around a core module's fields.
pub fn guest(fields: &str) -> anyhow::Result<Vec<u8>> {
    Assembly { kind: Kind::WarmPool, fields, beside: "" }.bytes()
}

/// No addresses, five pods, no subnet.
fn harmless_decide(kind: Kind) -> &'static str {
    match kind {
        Kind::WarmPool => r#"(func (export "decide") (param i32) (result i32) (i32.const 1024))"#,
        Kind::MaxPods => {
            r#"(data (i32.const 1032) "\05")
               (func (export "decide") (param i32) (result i32) (i32.const 1024))"#
        }
        Kind::SubnetSelection => {
            r#"(func (export "decide")
                 (param i64 i64 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                 (i32.const 1024))"#
        }
    }
}

/// The text with every line `;; <count> times: <line>` replaced by so many copies of the line; `{n}` in it is
/// the copy's number, which counts from 10000.
pub(crate) fn repeated(text: &str) -> anyhow::Result<String> {
    let mut out = String::new();
    for line in text.lines() {
        let repetition = line.strip_prefix(";; ").and_then(|line| line.split_once(" times: "));
        match repetition.and_then(|(count, line)| Some((count.parse::<usize>().ok()?, line))) {
            Some((count, line)) => {
                ensure!(count <= MOST_COPIES, "{count} copies of a line; {MOST_COPIES} are plenty");
                for copy in 0..count {
                    out.push_str(&line.replace("{n}", &(FIRST + copy).to_string()));
                    out.push('\n');
                }
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    Ok(out)
}

/// Attacks that no text can express: what is done to the finished bytes.
pub(crate) fn altered(mut bytes: Vec<u8>, how: Option<&str>) -> anyhow::Result<Vec<u8>> {
    match how {
        None => Ok(bytes),
        Some("empty") => Ok(Vec::new()),
        Some("truncate") => {
            bytes.truncate(bytes.len() / 2);
            Ok(bytes)
        }
        Some("offer text") => Ok(b"(component)".to_vec()),
        Some("offer a core module") => Ok(wat::parse_str("(module)")?),
        Some("precompile") => {
            let engine = wasmtime::Engine::default();
            engine.precompile_component(&bytes).map_err(|error| anyhow::anyhow!("precompile: {error}"))
        }
        Some("precompile and dress up") => {
            // Machine code that begins like a component.
            let code = altered(bytes, Some("precompile"))?;
            Ok([&COMPONENT[..], &code].concat())
        }
        Some("pad beyond the limit") => {
            // A custom section of 5 MiB: valid, useless, large.
            let content = [&[3, b'p', b'a', b'd'][..], &vec![0; 5 << 20]].concat();
            section(&mut bytes, 0, &content);
            Ok(bytes)
        }
        Some("nest 1000 deep") => Ok(nested(&bytes, 1_000)),
        Some("nest 100000 deep") => Ok(nested(&bytes, 100_000)),
        Some(other) => bail!("unknown alteration `{other}`"),
    }
}

/// A component in a component, so many deep. Written from the inside out, because every length counts what is
/// within.
fn nested(innermost: &[u8], depth: usize) -> Vec<u8> {
    let mut backwards: Vec<u8> = innermost.iter().rev().copied().collect();
    for _ in 0..depth {
        let mut length = Vec::new();
        leb(&mut length, backwards.len());
        backwards.extend(length.iter().rev());
        backwards.push(4);
        backwards.extend(COMPONENT.iter().rev());
    }
    backwards.reverse();
    backwards
}

/// What every component begins with.
pub const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// Appends a section to a component or module.
pub fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    bytes.push(id);
    leb(bytes, content.len());
    bytes.extend_from_slice(content);
}

/// The first bytes of a component or module.
fn header(bytes: &[u8]) -> &[u8] {
    bytes.get(..COMPONENT.len()).unwrap_or_default()
}

/// The component with its `position`th core module replaced; refused when it has fewer.
pub fn with_module(component: &[u8], position: usize, module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = header(component).to_vec();
    let mut modules = 0;
    for (id, content) in sections(component)? {
        let replaced = id == MODULE_SECTION && modules == position;
        modules += usize::from(id == MODULE_SECTION);
        section(&mut bytes, id, if replaced { module } else { content });
    }
    ensure!(position < modules, "it has {modules} core modules");
    Ok(bytes)
}

/// The core modules of a component.
pub fn modules(component: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let sections = sections(component)?;
    Ok(sections.into_iter().filter(|(id, _)| *id == MODULE_SECTION).map(|(_, content)| content).collect())
}

/// The section of a component that holds a core module.
const MODULE_SECTION: u8 = 1;

fn leb(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

/// The sections of a well-formed component or module: ids and contents.
pub fn sections(bytes: &[u8]) -> anyhow::Result<Vec<(u8, &[u8])>> {
    let mut rest = bytes.get(COMPONENT.len()..).context("it has no header")?;
    let mut found = Vec::new();
    while let Some((id, after)) = rest.split_first() {
        let (length, after) = read_leb(after).context("a section without a length")?;
        let content = after.get(..length).context("a section that ends too early")?;
        found.push((*id, content));
        rest = &after[length..];
    }
    Ok(found)
}

fn read_leb(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_repeated_with_their_number() {
        let text = repeated("a\n;; 2 times: b{n}\n;; times: c").unwrap();
        assert_eq!(text, "a\nb10000\nb10001\n;; times: c\n");
    }

    #[test]
    fn sections_come_back_as_they_were_written() {
        let mut bytes = COMPONENT.to_vec();
        section(&mut bytes, 1, &[7; 300]);
        section(&mut bytes, 0, b"");
        assert_eq!(sections(&bytes).unwrap(), [(1, &[7; 300][..]), (0, &[][..])]);
        assert!(sections(&bytes[..50]).is_err());
    }
}
