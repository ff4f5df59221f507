//! `keygen`, `sign`, and `inspect --key`.

use std::os::unix::fs::PermissionsExt as _;

use crate::{Desk, shipped};

/// A component of the author's own, and keys.
fn desk() -> Desk {
    let desk = Desk::new();
    std::fs::copy(shipped("eks-max-pods"), desk.path("mine.wasm")).unwrap();
    desk.enid("keygen --secret secret.key --public public.key", &[]).ended(0);
    desk
}

#[test]
fn a_signed_component_is_vouched_for_by_its_key() {
    let desk = desk();
    assert_eq!(desk.enid("sign mine.wasm --key secret.key", &[]).ended(0).out, "mine.wasm.minisig\n");
    let seen = desk.enid("inspect mine.wasm --key public.key --output json", &[]).ended(0).json();
    assert!(seen["admission"]["signed_by"].is_string(), "{seen}");
}

#[test]
fn unsigned_altered_and_foreign_components_are_refused() {
    let desk = desk();
    let step = |line: &str| desk.enid(line, &[]).ended(1).json()["admission"]["step"].clone();
    assert_eq!(step("inspect mine.wasm --key public.key --output json"), "signature");
    desk.enid("sign mine.wasm --key secret.key", &[]).ended(0);
    desk.enid("keygen --secret other.key --public other.pub", &[]).ended(0);
    assert_eq!(step("inspect mine.wasm --key other.pub --output json"), "signature");
    let mut bytes = std::fs::read(desk.path("mine.wasm")).unwrap();
    // An empty custom section: still a valid component, but another.
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(desk.path("mine.wasm"), bytes).unwrap();
    assert_eq!(step("inspect mine.wasm --key public.key --output json"), "signature");
}

#[test]
fn keys_are_never_overwritten_and_the_secret_one_is_its_owners() {
    let desk = desk();
    let mode = std::fs::metadata(desk.path("secret.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(desk.path("secret.key")).unwrap();
    let refused = desk.enid("keygen --secret secret.key --public new.key", &[]).ended(2);
    assert!(refused.err.contains("secret.key"), "{}", refused.err);
    assert_eq!(std::fs::read(desk.path("secret.key")).unwrap(), before);
    assert!(!desk.path("new.key").exists());
}

#[test]
fn what_is_no_key_is_wrong_input() {
    let desk = desk();
    assert!(desk.enid("sign mine.wasm --key public.key", &[]).ended(2).err.contains("public.key"));
    assert!(desk.enid("sign mine.wasm --key absent", &[]).ended(2).err.contains("absent"));
    assert!(desk.enid("inspect mine.wasm --key mine.wasm", &[]).ended(2).err.contains("mine.wasm"));
}
