//! JavaScript: componentize-qjs puts QuickJS and the module's state after loading into a component.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::toolchain::{self, run};
use crate::{Error, Kind, Language, adapt, component, contract};

/// With this the engine reads modules while it is pictured, and never after. The tool answers it by wrapping
/// the component into another one, which would need an engine with several memories.
const LOADER: &str = "local:init/module-loader";

/// Loads `strategy.js`, and takes a picture of the engine's memory then.
pub(super) fn build(dir: &Path, kind: Kind, scratch: &Path, tools: &Path) -> Result<Vec<u8>, Error> {
    let wit = contract::write_wit(scratch)?;
    let component = scratch.join("strategy.wasm");
    let mut node = Command::new("node");
    node.arg(toolchain::componentize_qjs(tools)?);
    node.arg("--wit").arg(wit).arg("--world").arg(contract::world(kind));
    node.arg("--js").arg(dir.join(Language::JavaScript.marker())).arg("--module-root").arg(dir);
    node.args(["--sync", "--opt-size"]).arg("--output").arg(&component);
    run(node.current_dir(dir))?;
    let wrapped = fs::read(&component).map_err(Error::file("read", &component))?;
    let engine = component::nested(&wrapped, LOADER)?.ok_or_else(|| Error::Unexpected {
        tool: "componentize-qjs",
        what: format!("its component has no other inside that imports {LOADER}"),
    })?;
    adapt::without(engine, |import| adapt::is_wasi(import) || import == LOADER)
}
