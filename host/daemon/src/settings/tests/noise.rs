//! Whatever a settings file holds: settings, or problems with their places.

use std::fs;

use proptest::prelude::{
    ProptestConfig, Strategy as _, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::{Index, select};

use super::{document, text_of, with_examples};

/// Words that change what TOML means.
fn intruder() -> impl proptest::strategy::Strategy<Value = String> {
    let words = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\"",
        "'",
        "'''",
        "\"\"\"",
        "#",
        "\n",
        "\r\n",
        "\0",
        "\u{feff}",
        "é",
        "-",
        "+",
        "0x7fffffffffffffff",
        "99999999999999999999",
        "-1",
        "1e400",
        "nan",
        "inf",
        "true",
        "1979-05-27T07:32:00Z",
        "[node]",
        "[[pool]]",
        "[strategy.warm-pool]",
        "use = 'batched'",
        "settings = { a.b.c = [[[]]] }",
        "a.b.c.d.e.f = 1",
        "node = 3",
        "\\u{110000}",
    ];
    prop_oneof![select(words.to_vec()).prop_map(str::to_owned), any::<String>()]
}

/// Everything that the daemon does with a file before it heeds it.
fn read_whole(text: &str) {
    match document(text) {
        Ok(read) => {
            let said = (read.effective().to_string(), read.filled().len(), read.remarks.len());
            assert!(said.0.is_empty() || said.0.ends_with('\n'));
            for problem in &read.problems {
                assert!(problem.to_string().contains("enid.toml"), "{problem}");
            }
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_annotated_file_with_anything_wrong_is_read_or_refused(
        changes in prop::collection::vec((any::<Index>(), 0usize..40, intruder()), 1..12),
    ) {
        let mut text: Vec<char> = with_examples().chars().collect();
        for (at, removed, added) in changes {
            let from = at.index(text.len() + 1);
            let to = text.len().min(from + removed);
            text.splice(from..to, added.chars());
        }
        read_whole(&text.into_iter().collect::<String>());
    }

    #[test]
    fn lines_in_any_order_are_read_or_refused(order in prop::collection::vec(any::<Index>(), 1..120)) {
        let text = with_examples();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let shuffled: Vec<&str> = order.iter().map(|at| *at.get(&lines)).collect();
        read_whole(&shuffled.join("\n"));
    }

    #[test]
    fn any_bytes_are_text_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("enid.toml");
        fs::write(&file, &bytes).unwrap();
        match text_of(&file) {
            Ok(text) => {
                prop_assert_eq!(text.as_bytes(), &bytes);
                read_whole(&text);
            }
            Err(problems) => prop_assert!(problems.to_string().contains("not UTF-8"), "{}", problems),
        }
    }
}
