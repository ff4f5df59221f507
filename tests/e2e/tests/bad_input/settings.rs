//! The settings file, the components it names, and what it hands to them.

use std::fs;

use e2e::lab::Lab;
use e2e::program::{self, run_enid};

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
        (12, "strategy.warm-pool.deadline", "here may be use, fallback"),
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
    let max_pods = program::strategy("eks-max-pods").to_str().unwrap().to_owned();
    for (strategy, why) in [
        ("no-such-thing", "the file cannot be read: No such file"),
        ("/nowhere/at-all.wasm", "the file cannot be read: No such file"),
        (lab.directory().to_str().unwrap(), "the file cannot be read"),
        (&file("empty.wasm", b""), "the file is empty"),
        (&file("text.wasm", b"hello"), "it is no WebAssembly component"),
        (&file("module.wasm", b"\0asm\x01\0\0\0"), "make it a component first"),
        (&file("cut.wasm", &shipped[..3000]), "it is not valid"),
        (&file("flipped.wasm", &flipped), "it is not valid"),
        (&max_pods, "it is a max-pods strategy, but a warm-pool strategy is configured here"),
    ] {
        node.configure(&node.settings().warm_pool(strategy, ""));
        let said = untouched.refuses(SETTINGS);
        says(&said, &["load warm-pool strategy", strategy, why, "[strategy.warm-pool]"]);
        let file = node.settings_file().to_str().unwrap();
        assert_eq!(run_enid(&["check-settings", file]).complaint(SETTINGS), said);
    }
    let other_bytes = format!("{}digest = \"sha256:{}\"\n", node.settings(), "0".repeat(64));
    node.write_settings(&other_bytes);
    says(&untouched.refuses(SETTINGS), &["warm-targets", "digest", "[strategy.warm-pool]"]);
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}

#[test]
fn settings_that_a_strategy_does_not_take_are_refused_in_its_words() {
    let lab = Lab::up("strategy");
    let untouched = Untouched::new(lab.m5());
    let node = &untouched.node;
    for (settings, wanted) in [
        ("warm_eni_taget = 1", vec!["warm_eni_taget: unknown setting", "warm_eni_target"]),
        ("warm_eni_target = -7", vec!["warm_eni_target", "from 0 to 128", "-7"]),
        ("warm_eni_target = 100000", vec!["warm_eni_target", "from 0 to 128", "100000"]),
        ("warm_eni_target = \"one\"", vec!["warm_eni_target", "integer", "one"]),
        ("placement = \"sideways\"", vec!["placement", "pack", "spread", "sideways"]),
        ("warm_ip_target = -1, colour = 2", vec!["warm_ip_target", "colour"]),
    ] {
        node.configure(&node.settings().warm_pool("warm-targets", settings));
        let said = untouched.refuses(SETTINGS);
        says(&said, &["warm-pool", "[strategy.warm-pool]"]);
        says(&said, &wanted);
    }
    assert!(untouched.starts_with(&node.settings()).terminate().success());
}
