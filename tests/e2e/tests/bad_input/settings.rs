//! The settings file, the components it names, and what it hands to them.

use std::fs;

use std::path::Path;

use e2e::lab::Lab;
use e2e::node::Node;
use e2e::program::{self, run_enid};
use enid_component_store::{Digest, KeyPair};

use crate::{SETTINGS, Untouched, says};

#[test]
fn problems_of_the_settings_are_told_together_with_their_lines() {
    let lab = Lab::up("settings");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    node.write_settings(
        "colour = \"red\"\n\
         [node]\n\
         runtime_dir = 5\n\
         max_pods = 0\n\
         [pool]\n\
         cooldown_secs = -1\n\
         wait_secs = \"long\"\n\
         [network]\n\
         node_port = 1\n\
         [strategy.warm-pool]\n\
         use = \"Nope!\"\n\
         deadline = 3\n\
         [strategy.warm-pool.limits]\n\
         memory_mib = 4096\n",
    );
    let wanted = [
        (1, "colour", "there is no such setting"),
        (3, "node.runtime_dir = 5", "must be an absolute path"),
        (4, "node.max_pods = 0", "from 1 to 10000 pods"),
        (6, "pool.cooldown_secs = -1", "from 0 to 3600 seconds"),
        (7, "pool.wait_secs = \"long\"", "from 0 to 110 seconds"),
        (9, "network.node_port = 1", "must be true or false"),
        (11, "strategy.warm-pool.use = \"Nope!\"", "must be the name of a strategy"),
        (12, "strategy.warm-pool.deadline", "here may be use, digest, settings, limits, fallback, shadow"),
        (14, "strategy.warm-pool.limits.memory_mib = 4096", "from 1 to 128 MiB"),
    ];
    let file = node.settings_file().to_str().unwrap();
    let told = node.run_to_end().complaints(SETTINGS);
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (line, (number, key, remedy)) in told.iter().zip(wanted) {
        says(line, &[&format!("{file}:{number}: {key}"), remedy]);
    }
    assert_eq!(run_enid(&["check-settings", file]).complaints(SETTINGS), told);
    untouched.is_untouched();
    assert!(!node.runtime_dir().exists(), "not even the runtime directory was made");
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn a_settings_file_that_cannot_be_read_is_named() {
    let lab = Lab::up("unreadable");
    let directory = lab.directory();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let huge = vec![b'#'; 2 << 20];
    for (path, why) in [
        (directory.join("nowhere.toml"), "No such file"),
        (directory.to_owned(), "Is a directory"),
        (file("latin.toml", b"colour = \"gr\xfcn\"\n"), "not UTF-8 text"),
        (file("half.toml", b"[node\n"), ":1: not valid TOML"),
        (file("twice.toml", b"[node]\nmax_pods = 3\nmax_pods = 4\n"), ":3: not valid TOML"),
        (file("huge.toml", &huge), "larger than"),
    ] {
        let path = path.to_str().unwrap();
        for words in [["run", "--config", path].as_slice(), &["check-settings", path]] {
            let said = run_enid(words).complaint(SETTINGS);
            says(&said, &[path, why]);
        }
    }
}

#[test]
fn a_component_that_cannot_be_used_is_refused_by_name() {
    let lab = Lab::up("component");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    let shipped = fs::read(program::strategy("warm-targets")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = lab.directory().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let mut flipped = shipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0xff);
    let max_pods = file("max-pods.wasm", &fs::read(program::strategy("eks-max-pods")).unwrap());
    let nowhere = |name: &str| node.settings().warm_pool(name, "").pinned(&zeroes());
    let pinned = |path: &str| node.settings().warm_pool_file(Path::new(path), "");
    for (settings, why) in [
        (nowhere("/nowhere/at-all.wasm"), "/nowhere/at-all.wasm cannot be read: No such file"),
        (nowhere(lab.directory().to_str().unwrap()), "cannot be read: not a regular file"),
        (pinned(&file("empty.wasm", b"")), "the file is empty"),
        (pinned(&file("text.wasm", b"hello")), "it is no WebAssembly component"),
        (pinned(&file("module.wasm", b"\0asm\x01\0\0\0")), "make it a component first"),
        (pinned(&file("cut.wasm", &shipped[..3000])), "it is not valid"),
        (pinned(&file("flipped.wasm", &flipped)), "it is not valid"),
        (pinned(&max_pods), "it is a max-pods strategy, but a warm-pool strategy is configured here"),
        (node.settings().warm_pool(&max_pods, "").pinned(&zeroes()), "the file's digest is sha256:"),
    ] {
        node.configure(&settings);
        let said = untouched.refuses(SETTINGS);
        says(&said, &[node.settings_file().to_str().unwrap(), ": strategy.warm-pool.", why]);
        assert_eq!(checked(node), said);
    }
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

/// A digest that nothing has.
fn zeroes() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// The one complaint of `enid check-settings` about the node's settings file.
#[track_caller]
fn checked(node: &Node) -> String {
    run_enid(&["check-settings", node.settings_file().to_str().unwrap()]).complaint(SETTINGS)
}

/// The line of the settings file that has `text`, counted from 1, as complaints name it.
#[track_caller]
fn line_with(node: &Node, text: &str) -> String {
    let file = node.settings_file();
    let written = fs::read_to_string(file).unwrap();
    let line = written.lines().position(|line| line.contains(text));
    let line = line.unwrap_or_else(|| panic!("`{text}` is not in\n{written}"));
    format!("{}:{}: ", file.display(), line + 1)
}

#[test]
fn a_component_that_is_not_shipped_is_pinned_or_refused() {
    let lab = Lab::up("pinned");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    let own = lab.directory().join("own.wasm");
    fs::copy(program::strategy("warm-targets"), &own).unwrap();
    let own = own.to_str().unwrap();
    let digest = Digest::of(&fs::read(own).unwrap()).to_string();
    for (settings, line, parts) in [
        // Without a digest, wherever it is named.
        (
            node.settings().warm_pool(own, ""),
            "use = ",
            vec!["strategy.warm-pool.digest is missing", "enid strategy digest FILE"],
        ),
        (
            node.settings().and(&format!("[[strategy.warm-pool.fallback]]\nuse = {own:?} # not pinned")),
            "not pinned",
            vec!["strategy.warm-pool.fallback.0.digest is missing"],
        ),
        (
            node.settings().and(&format!("[strategy.max-pods.shadow]\nuse = {own:?} # not pinned")),
            "not pinned",
            vec!["strategy.max-pods.shadow.digest is missing"],
        ),
        // With another digest than it has.
        (
            node.settings().warm_pool(own, "").pinned(&zeroes()),
            "digest = ",
            vec!["strategy.warm-pool.digest = ", "step `digest`", &digest],
        ),
        (
            node.settings().pinned(&zeroes()),
            "digest = ",
            vec!["strategy.warm-pool.digest = ", "what enid ships", "or be left out"],
        ),
        // Names that nobody knows.
        (
            node.settings().warm_pool("our-own", ""),
            "use = ",
            vec!["strategy.warm-pool.use = \"our-own\"", "batched, eks-max-pods, most-free, warm-targets"],
        ),
        (
            node.settings().warm_pool("our-own", "").pinned(&zeroes()),
            "digest = ",
            vec!["strategy.warm-pool.digest = ", "enid strategy pull"],
        ),
        // The form of earlier versions.
        (
            node.settings().and("fallback = \"batched\""),
            "fallback = ",
            vec!["strategy.warm-pool.fallback = \"batched\"", "[[strategy.warm-pool.fallback]]", "use = "],
        ),
    ] {
        node.configure(&settings);
        let said = untouched.refuses(SETTINGS);
        says(&said, &[&line_with(node, line)]);
        says(&said, &parts);
        assert_eq!(checked(node), said);
    }
    let pinned = node.settings().warm_pool(own, "warm_eni_target = 1").pinned(&digest);
    assert!(untouched.starts_with(&pinned).terminate().success());
}

#[test]
fn a_component_that_nobody_signed_is_refused_where_signatures_are_required() {
    let lab = Lab::up("unsigned");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    let (ours, theirs) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("own.wasm");
    fs::copy(program::strategy("warm-targets"), &own).unwrap();
    let text = node.settings().warm_pool_file(&own, "warm_eni_target = 1").to_string();
    let required = format!("[engine]\nrequire_signatures = true\ntrusted_keys = [\"us={}\"]", ours.public);
    node.write_settings(&text.replace("[engine]", &required));
    let refused = || {
        let told = node.run_to_end().complaints(SETTINGS);
        untouched.is_untouched();
        assert_eq!(told.len(), 1, "{told:#?}");
        says(&told[0], &["strategy.warm-pool.use", "step `signature`"]);
        told
    };
    let told = refused();
    says(&told[0], &["own.wasm.minisig"]);
    let file = node.settings_file().to_str().unwrap();
    assert_eq!(run_enid(&["check-settings", file]).complaints(SETTINGS), told);
    let sign = |pair: &KeyPair| {
        let signature = pair.secret.sign(&fs::read(&own).unwrap(), "for a test").unwrap();
        fs::write(directory.path().join("own.wasm.minisig"), signature).unwrap();
    };
    sign(&theirs);
    refused();
    sign(&ours);
    assert_eq!(run_enid(&["check-settings", file]).code, Some(0));
    node.write_settings(&text.replace("[engine]", "[engine]\nrequire_signatures = true"));
    says(&untouched.refuses(SETTINGS), &["engine.require_signatures = true", "no key is trusted"]);
}

#[test]
fn settings_that_a_strategys_schema_refuses_are_told_together_with_their_lines() {
    let lab = Lab::up("strategy");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    for (settings, wanted) in [
        ("warm_eni_taget = 1", vec!["warm_eni_taget = 1: ", "unknown setting", "warm_eni_target"]),
        ("warm_eni_target = -7", vec!["warm_eni_target = -7: ", "from 0 to 128"]),
        ("warm_eni_target = 100000", vec!["warm_eni_target = 100000: ", "from 0 to 128"]),
        ("warm_eni_target = \"one\"", vec!["warm_eni_target = \"one\": ", "an integer"]),
        ("placement = \"sideways\"", vec!["placement = \"sideways\": ", "pack", "spread"]),
    ] {
        node.configure(&node.settings().warm_pool("warm-targets", settings));
        let said = untouched.refuses(SETTINGS);
        says(&said, &[&line_with(node, settings), "strategy.warm-pool.settings."]);
        says(&said, &wanted);
        assert_eq!(checked(node), said);
    }
    // Those of the file, of a schema, and of the schema of a fallback: all at once, in the order of lines.
    let text = node.settings().warm_pool("warm-targets", "warm_ip_target = -1, colour = 2").and(
        "[[strategy.warm-pool.fallback]]\nuse = \"batched\"\n[strategy.warm-pool.fallback.settings]\nbatch = -3",
    );
    node.write_settings(&text.to_string().replace("cooldown_secs = 30", "cooldown_secs = -3"));
    let told = node.run_to_end().complaints(SETTINGS);
    untouched.is_untouched();
    let wanted = [
        ("cooldown_secs", "pool.cooldown_secs = -3: "),
        ("warm_ip_target", "strategy.warm-pool.settings.warm_ip_target = -1: "),
        ("colour", "strategy.warm-pool.settings.colour = 2: "),
        ("batch = ", "strategy.warm-pool.fallback.0.settings.batch = -3: "),
    ];
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
    for (text, complaint) in wanted {
        let complaint = format!("{}{complaint}", line_with(node, text));
        assert!(told.iter().any(|line| line.contains(&complaint)), "{complaint}: {told:#?}");
    }
    let file = node.settings_file().to_str().unwrap();
    assert_eq!(run_enid(&["check-settings", file]).complaints(SETTINGS), told);
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

/// A strategy that finds fault with its setting `size`, whatever it is.
const NEVER_SATISFIED: &str = r#"
    (data (i32.const 2000) "\00\08\00\00\01\00\00\00")
    (data (i32.const 2048) "\10\08\00\00\04\00\00\00\20\08\00\00\0d\00\00\00")
    (data (i32.const 2064) "size")
    (data (i32.const 2080) "must be prime")
    (func (export "check-settings") (param i32 i32) (result i32) (i32.const 2000))
"#;

#[test]
fn settings_that_a_component_itself_refuses_are_told_in_its_words_with_their_lines() {
    let lab = Lab::up("own-words");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    let file = lab.directory().join("prime.wasm");
    fs::write(&file, guests::guest(NEVER_SATISFIED).unwrap()).unwrap();
    let settings = "\n[strategy.warm-pool.settings]\nother = true\nsize = 8\n";
    let text = node.settings().warm_pool_file(&file, "").to_string();
    node.write_settings(&text.replace("settings = {  }", settings));
    let said = untouched.refuses(SETTINGS);
    says(&said, &[&line_with(node, "size = 8"), "strategy.warm-pool.settings.size = 8: must be prime"]);
    assert_eq!(checked(node), said);
    // What it says about a setting that is not there is placed where that would be.
    node.write_settings(&text);
    let said = untouched.refuses(SETTINGS);
    says(&said, &[&line_with(node, "settings = {  }"), "strategy.warm-pool.settings.size: must be prime"]);
}
