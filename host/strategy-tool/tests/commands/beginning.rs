//! `new`: what it writes, and what it refuses. That every template builds is tested where the templates are.

use crate::{Desk, shipped};

#[test]
fn a_new_folder_has_cases_that_fit_its_kind() {
    let desk = Desk::new();
    for (kind, component) in
        [("warm-pool", "warm-targets"), ("max-pods", "eks-max-pods"), ("subnet-selection", "most-free")]
    {
        for lang in ["rust", "c", "js", "python"] {
            let name = format!("my-{kind}-in-{lang}");
            let made = desk.enid(&format!("new {name} --kind {kind} --lang {lang}"), &[]).ended(0);
            assert_eq!(made.out, format!("{name}\n"));
            assert!(desk.path(&name).join("tests.toml").is_file());
        }
        // Another strategy need not answer alike, but can be asked: the cases themselves are right.
        let line = format!("test my-{kind}-in-c --component {{}}");
        let asked = desk.enid(&line, &[&shipped(component)]);
        assert!(asked.code < 2 && asked.out.lines().count() > 2, "{asked:?}");
    }
}

#[test]
fn nothing_is_overwritten_and_names_are_checked() {
    let desk = Desk::new();
    let new = |words: &str| desk.enid(&format!("new {words} --lang c"), &[]);
    new("mine --kind max-pods").ended(0);
    assert!(new("mine --kind max-pods").ended(2).err.contains("mine"));
    assert!(new("Mine! --kind max-pods").ended(2).err.contains("`Mine!`"));
    assert_eq!(new("other --kind maxpods").code, 2);
    assert_eq!(desk.enid("new other --kind max-pods --lang cobol", &[]).code, 2);
    new("other --kind max-pods --dir deep/down").ended(0);
    assert_eq!(desk.files(), ["deep", "mine"]);
}
