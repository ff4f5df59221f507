//! C: bindings by wit-bindgen, clang for `wasm32-wasi`, then the same way as Rust's core modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

use crate::toolchain::{C_TARGET, run};
use crate::{Error, Kind, componentize, contract, output};

/// The size is what matters: these run for microseconds. The stack comes first in memory, so that one that
/// overflows traps instead of overwriting data.
const FLAGS: [&str; 9] = [
    "-std=c11",
    "-Os",
    "-Wall",
    "-Wextra",
    "-mexec-model=reactor",
    "-Wl,-z,stack-size=65536",
    "-Wl,--stack-first",
    "-Wl,--gc-sections",
    "-Wl,--strip-all",
];

/// Compiles all `.c` files of `dir` and the bindings into a component.
pub(super) fn build(dir: &Path, kind: Kind, scratch: &Path) -> Result<Vec<u8>, Error> {
    let bindings = scratch.join("bindings");
    let generated = generate(kind, &bindings)?;
    let module = scratch.join("strategy.wasm");
    let mut clang = Command::new("clang");
    clang.arg(format!("--target={C_TARGET}")).args(FLAGS).arg("-I").arg(&bindings);
    clang.args(sources(dir)?).args(generated).arg("-o").arg(&module);
    run(&mut clang)?;
    componentize(&fs::read(&module).map_err(Error::file("read", &module))?)
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::file("read", dir))? {
        let path = entry.map_err(Error::file("read", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            sources.push(path);
        }
    }
    sources.sort();
    Ok(sources)
}

/// Writes the bindings, and returns those of them that are compiled or linked.
fn generate(kind: Kind, bindings: &Path) -> Result<Vec<PathBuf>, Error> {
    let unexpected =
        |why: &dyn std::fmt::Display| Error::Unexpected { tool: "wit-bindgen", what: format!("{why:#}") };
    let mut resolve = Resolve::default();
    let package = resolve.push_str("strategy.wit", contract::WIT).map_err(|why| unexpected(&why))?;
    let world =
        resolve.select_world(&[package], Some(&contract::world(kind))).map_err(|why| unexpected(&why))?;
    let mut files = Files::default();
    // Short names for authors: `enid_string_t` whatever the kind, `plugin_describe`, `warm_pool_decide`.
    let mut options = wit_bindgen_c::Opts { rename_world: Some("enid".to_owned()), ..Default::default() };
    for (interface, name) in
        [("types", "enid"), ("log", "enid_log"), ("plugin", "plugin"), (kind.as_str(), kind.as_str())]
    {
        options.rename.push((format!("enid:strategy/{interface}@0.1.0"), name.replace('-', "_")));
    }
    let mut generator = options.build();
    generator.generate(&mut resolve, world, &mut files).map_err(|why| unexpected(&why))?;
    let mut linked = Vec::new();
    for (name, contents) in files.iter() {
        let path = bindings.join(name);
        output::write_if_changed(&path, contents)?;
        if path.extension().is_some_and(|extension| extension == "c" || extension == "o") {
            linked.push(path);
        }
    }
    Ok(linked)
}
