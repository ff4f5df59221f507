//! `inspect`.

use serde_json::json;

use crate::{Desk, shipped};

#[test]
fn a_component_is_described_and_would_be_admitted() {
    let desk = Desk::new();
    let seen = desk.enid("inspect {} --output json", &[&shipped("warm-targets")]).ended(0).json();
    assert_eq!((&seen["kind"], &seen["contract"]), (&json!("warm-pool"), &json!("enid:strategy@0.1.0")));
    assert_eq!(seen["description"]["name"], "warm-targets");
    let settings = seen["description"]["settings"].as_array().unwrap();
    let target = settings.iter().find(|knob| knob["key"] == "warm_ip_target").unwrap();
    assert_eq!((&target["type"], &target["default"]), (&json!("integer"), &json!(0)));
    assert!(target["allowed"].as_str().unwrap().contains("10000"), "{target}");
    assert_eq!(seen["admission"]["admitted"], true);
    assert!(seen["admission"]["corners"].as_u64().unwrap() > 5, "{seen}");
    let imports = seen["imports"].as_array().unwrap();
    assert!(imports.iter().all(|import| import.as_str().unwrap().starts_with("enid:strategy/")), "{seen}");
}

#[test]
fn a_refusal_names_the_step_and_the_reason_and_fails() {
    let desk = Desk::new();
    let component = shipped("warm-targets");
    let refused = desk.enid("inspect {} --set warm_ip_target=-1 --output json", &[&component]).ended(1);
    assert_eq!(refused.json()["admission"]["step"], "schema");
    assert!(refused.err.contains("warm_ip_target"), "{}", refused.err);
    // Refused late, it still says who it is.
    assert_eq!(refused.json()["description"]["name"], "warm-targets");

    let text = desk.write("text.wasm", "(component)");
    let refused = desk.enid("inspect {} --output json", &[&text]).ended(1).json();
    assert_eq!((&refused["admission"]["step"], &refused["kind"]), (&json!("form"), &json!(null)));

    let padded = [std::fs::read(&component).unwrap(), vec![0; 5 << 20]].concat();
    let large = desk.path("large.wasm");
    std::fs::write(&large, padded).unwrap();
    let refused = desk.enid("inspect {} --output json", &[&large]).ended(1).json();
    assert_eq!(refused["admission"]["step"], "size");
    let truncated = desk.path("truncated.wasm");
    std::fs::write(&truncated, &std::fs::read(&component).unwrap()[..20_000]).unwrap();
    let refused = desk.enid("inspect {}", &[&truncated]).ended(1);
    assert!(refused.out.contains("refused at compile"), "{}", refused.out);
}

#[test]
fn what_people_see_has_the_settings_and_the_verdict() {
    let desk = Desk::new();
    let said = desk.enid("inspect {}", &[&shipped("eks-max-pods")]).ended(0).out;
    assert!(
        said.lines().any(|line| line.starts_with("admission") && line.ends_with("would be admitted")),
        "{said}"
    );
    assert!(said.contains("sha256:"), "{said}");
}
