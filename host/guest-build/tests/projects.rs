//! Projects as authors have them: new ones in the languages that need nothing from the network.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use enid_guest_build::adapt::is_contract;
use enid_guest_build::project::{Project, Workshop};
use enid_guest_build::{Kind, Language, imports, new_project, toolchain};

/// Whether C can be compiled here; says so where not, and does not let CI pass over it.
fn c_is_possible() -> bool {
    let missing = toolchain::missing(Language::C);
    for missing in &missing {
        println!("not tested: {missing}");
    }
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "CI has to compile C");
    missing.is_empty()
}

fn build(dir: &Path, out: &Path) -> anyhow::Result<Vec<u8>> {
    let scratch = out.join("scratch");
    let workshop = Workshop { tools: scratch.join("tools"), scratch };
    let built = Project::open(dir)?.build(&workshop, out)?;
    let component = std::fs::read(&built.component)?;
    ensure!(component.len() == built.bytes);
    ensure!(imports(&component)?.iter().all(|import| is_contract(import)));
    Ok(component)
}

#[test]
fn every_new_project_in_c_builds_the_same_component_each_time() {
    if !c_is_possible() {
        return;
    }
    for kind in Kind::ALL {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("fresh");
        new_project(&dir, "fresh", kind, Language::C).unwrap();
        let once = build(&dir, &home.path().join("once")).unwrap();
        assert_eq!(build(&dir, &home.path().join("again")).unwrap(), once, "{kind}");
    }
}

#[test]
fn c_that_prints_needs_no_wasi() {
    if !c_is_possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("loud");
    new_project(&dir, "loud", Kind::WarmPool, Language::C).unwrap();
    let source = dir.join("strategy.c");
    let text = std::fs::read_to_string(&source).unwrap();
    let loud = text.replace("#include \"enid.h\"", "#include <stdio.h>\n#include <time.h>\n#include \"enid.h\"").replace(
        "    uint32_t pods = snapshot->pods.bound;",
        "    uint32_t pods = snapshot->pods.bound;\n    printf(\"%ld: %u pods\\n\", (long)time(NULL), pods);",
    );
    assert_ne!(loud, text);
    std::fs::write(&source, loud).unwrap();
    let component = build(&dir, home.path()).unwrap();
    let name = b"wasi_snapshot_preview1";
    assert!(
        component.windows(name.len()).any(|bytes| bytes == name),
        "it asked for nothing, so nothing was tested"
    );
}

#[test]
fn a_mistake_in_c_is_shown_in_the_compilers_words() {
    if !c_is_possible() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("wrong");
    new_project(&dir, "wrong", Kind::MaxPods, Language::C).unwrap();
    std::fs::write(dir.join("strategy.c"), "int mistaken = ;\n").unwrap();
    let error = build(&dir, home.path()).unwrap_err().to_string();
    assert!(error.contains("strategy.c:1") && error.contains("expected expression"), "{error}");
}

#[test]
fn a_folder_that_is_no_project_is_refused_with_what_it_needs() {
    let home = tempfile::tempdir().unwrap();
    let refused = |dir: &Path| Project::open(dir).unwrap_err().to_string();
    assert!(refused(home.path()).contains("strategy.c, strategy.js, strategy.py, Cargo.toml"));
    std::fs::write(home.path().join("strategy.py"), "").unwrap();
    assert!(refused(home.path()).contains("strategy.toml"));
    for (manifest, about) in [
        ("name = \"a\"\n", "kind"),
        ("name = \"a\"\nkind = \"warmpool\"\n", "kind `warmpool` is unknown"),
        ("name = \"A\"\nkind = \"warm-pool\"\n", "`A` cannot be a strategy's name"),
        ("name = \"a\"\nkind = \"warm-pool\"\nlang = \"py\"\n", "unknown field `lang`"),
    ] {
        std::fs::write(home.path().join("strategy.toml"), manifest).unwrap();
        assert!(refused(home.path()).contains(about), "{manifest}: {}", refused(home.path()));
    }
    std::fs::write(home.path().join("strategy.js"), "").unwrap();
    assert!(refused(home.path()).contains("strategy.js and strategy.py"));
}

/// One test: they share what cargo compiles, and that takes most of the time.
#[test]
fn every_new_project_in_rust_passes_its_own_tests_and_lints_and_builds() {
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("target");
    for kind in Kind::ALL {
        let dir = home.path().join(kind.as_str());
        new_project(&dir, &format!("fresh-{kind}"), kind, Language::Rust).unwrap();
        cargo(&dir, &target, &["test", "--quiet"]).unwrap();
        cargo(&dir, &target, &["clippy", "--quiet", "--all-targets", "--", "-D", "warnings"]).unwrap();
        cargo(&dir, &target, &["fmt", "--check"]).unwrap();
        let wasm = ["--target", enid_guest_build::rust::TARGET];
        cargo(&dir, &target, &["build", "--quiet", "--lib", "--release", wasm[0], wasm[1]]).unwrap();
        let module = format!("wasm32-unknown-unknown/release/fresh_{}.wasm", kind.as_str().replace('-', "_"));
        let module = std::fs::read(target.join(module)).unwrap();
        let component = enid_guest_build::componentize(&module).unwrap();
        assert!(imports(&component).unwrap().iter().all(|import| is_contract(import)));
    }
}

/// Cargo in a project, with the packages that this workspace has fetched already.
fn cargo(dir: &Path, target: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .current_dir(dir)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .output()
        .context("run cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} in {}: {said}", arguments.join(" "), dir.display());
    Ok(())
}
