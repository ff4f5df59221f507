//! Which settings are not the default, and where they come from.

use super::*;

fn in_force(text: &str) -> Vec<String> {
    let effective = document(text).unwrap().effective();
    effective.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_file_of_defaults_has_nothing_to_show() {
    assert_eq!(in_force(""), [""; 0]);
    assert_eq!(in_force(ANNOTATED), [""; 0]);
}

#[test]
fn what_differs_is_shown_with_its_line() {
    let text = "[pool]\nmode = 'prefix'\ncooldown_secs = 30\n[network]\nmtu = 1500\npod_mtu = 1500\n\
                [tags]\n'a.b' = 'x'\n[eni_config.z]\nsubnet = 'subnet-1'\nsecurity_groups = []\n\
                [strategy.warm-pool]\nuse = 'warm-targets'\nsettings = { warm_ip_target = 2 }\n\
                [[strategy.warm-pool.fallback]]\nuse = 'builtin'\n";
    let expected = [
        "eni_config.z.subnet = 'subnet-1' (line 10)",
        "network.mtu = 1500 (line 5)",
        "pool.mode = 'prefix' (line 2)",
        "strategy.warm-pool.fallback.0.use = 'builtin' (line 16)",
        "strategy.warm-pool.settings.warm_ip_target = 2 (line 14)",
        "tags.a.b = 'x' (line 8)",
    ];
    assert_eq!(in_force(text), expected);
}

#[test]
fn every_example_of_the_annotated_file_is_in_force_with_its_line() {
    let text = with_examples();
    let (lines, shown): (Vec<&str>, _) = (text.lines().collect(), in_force(&text));
    for (key, at) in
        [("node.max_pods", "max_pods ="), ("network.egress", "egress ="), ("tags.team", "team = \"network\"")]
    {
        let line = 1 + lines.iter().rposition(|line| line.starts_with(at)).unwrap();
        let entry =
            shown.iter().find(|shown| shown.starts_with(key)).unwrap_or_else(|| panic!("{key}: {shown:#?}"));
        assert!(entry.ends_with(&format!("(line {line})")), "{entry}");
    }
}
