//! Python: componentize-py puts CPython, its standard library and the module after loading into a component.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::toolchain::{self, run};
use crate::{Error, Kind, adapt, contract};

/// Loads `strategy.py`, and takes a picture of the interpreter's memory then.
///
/// It is loaded from a copy: the interpreter in the component writes `__pycache__` beside what it loads.
pub(super) fn build(dir: &Path, kind: Kind, scratch: &Path, tools: &Path) -> Result<Vec<u8>, Error> {
    let wit = contract::write_wit(scratch)?;
    let sources = scratch.join("sources");
    match fs::remove_dir_all(&sources) {
        Err(why) if why.kind() != ErrorKind::NotFound => return Err(Error::file("remove", &sources)(why)),
        Ok(()) | Err(_) => copy_modules(dir, &sources, scratch)?,
    }
    let component = scratch.join("strategy.wasm");
    let mut tool = Command::new(toolchain::componentize_py(tools)?);
    tool.arg("--wit-path").arg(wit).arg("--world").arg(contract::world(kind));
    tool.args(["componentize", "strategy", "--python-path"]).arg(sources);
    // Without this it would search the caller's own environment for packages.
    tool.env_remove("VIRTUAL_ENV").arg("--output").arg(&component).current_dir(scratch);
    run(&mut tool)?;
    adapt(&fs::read(&component).map_err(Error::file("read", &component))?)
}

/// Copies `.py` files, and folders that are packages, but never where the build itself writes.
fn copy_modules(from: &Path, to: &Path, scratch: &Path) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(Error::file("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::file("read", from))? {
        let path = entry.map_err(Error::file("read", from))?.path();
        let Some(name) = path.file_name() else { continue };
        if path.join("__init__.py").is_file() && path != scratch {
            copy_modules(&path, &to.join(name), scratch)?;
        } else if path.extension().is_some_and(|extension| extension == "py") {
            fs::copy(&path, to.join(name)).map_err(Error::file("copy", &path))?;
        }
    }
    Ok(())
}
