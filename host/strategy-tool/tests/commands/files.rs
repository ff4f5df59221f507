//! `digest`, `adapt`, and what needs a registry or a toolchain, as far as it goes without one.

use std::process::Command;

use crate::{Desk, shipped};

#[test]
fn digests_are_those_of_sha256sum() {
    let desk = Desk::new();
    let component = shipped("most-free");
    let said = desk.enid("digest {}", &[&component]).ended(0).out;
    let sum = Command::new("sha256sum").arg(&component).output().unwrap();
    assert_eq!(said, format!("sha256:{}", String::from_utf8(sum.stdout).unwrap()));
    desk.enid("digest absent", &[]).ended(2);
}

#[test]
fn a_component_without_wasi_is_adapted_to_itself() {
    let desk = Desk::new();
    let component = shipped("most-free");
    desk.enid("adapt {} --out adapted.wasm", &[&component]).ended(0);
    assert_eq!(std::fs::read(desk.path("adapted.wasm")).unwrap(), std::fs::read(&component).unwrap());
    let text = desk.write("text", "no component");
    assert!(desk.enid("adapt {} --out never.wasm", &[&text]).ended(1).err.contains("text"));
    assert!(!desk.path("never.wasm").exists());
}

#[test]
fn a_registry_that_does_not_answer_is_unavailable_and_a_bad_reference_wrong_input() {
    let desk = Desk::new();
    let component = shipped("most-free");
    // Port 1 of this machine: nobody listens.
    desk.enid("push {} oci://127.0.0.1:1/most-free:1", &[&component]).ended(69);
    let digest = "0".repeat(64);
    desk.enid(&format!("pull oci://127.0.0.1:1/most-free@sha256:{digest} --store store"), &[]).ended(69);
    assert!(
        desk.enid("pull oci://127.0.0.1:1/most-free:1 --store store", &[]).ended(2).err.contains("@sha256")
    );
    assert_eq!(desk.enid("pull most-free --store store", &[]).code, 2);
}

#[test]
fn a_folder_without_a_strategy_is_not_built() {
    let desk = Desk::new();
    assert!(desk.enid("build", &[]).ended(2).err.contains("no strategy here"));
}
