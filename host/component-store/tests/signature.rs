//! What counts as a signature, and what does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use enid_component_store::signature::{MAX_SIGNATURE, check_form};
use enid_component_store::{KeyPair, PublicKey, SecretKey, SignatureError, TrustedKeys};
use proptest::prelude::*;

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 and so on";

fn trust(keys: &[(&str, &KeyPair)]) -> TrustedKeys {
    let texts: Vec<String> = keys.iter().map(|(name, pair)| format!("{name}={}", pair.public)).collect();
    TrustedKeys::parse(&texts).expect("keys that were just made")
}

/// `text` with one line replaced.
fn with_line(text: &str, number: usize, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines[number] = line;
    lines.join("\n") + "\n"
}

#[test]
fn a_signature_is_found_to_be_of_whom_it_is() -> Result<()> {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let keys = trust(&[("platform", &ours), ("vendor", &theirs)]);
    let signature = theirs.secret.sign(COMPONENT, "batched 1.2, built by CI")?;
    let verified = keys.verify(COMPONENT, Some(&signature))?;
    assert_eq!(verified.key.to_string(), "vendor");
    assert_eq!(verified.trusted_comment, "batched 1.2, built by CI");
    Ok(())
}

#[test]
fn other_bytes_are_not_covered() -> Result<()> {
    let pair = KeyPair::generate()?;
    let signature = pair.secret.sign(COMPONENT, "x")?;
    let mut changed = COMPONENT.to_vec();
    changed[9] ^= 1;
    let refused = trust(&[("a", &pair)]).verify(&changed, Some(&signature));
    assert!(matches!(refused, Err(SignatureError::BadSignature { key }) if key.to_string() == "a"));
    Ok(())
}

#[test]
fn the_trusted_comment_is_covered() -> Result<()> {
    let pair = KeyPair::generate()?;
    let signature = pair.secret.sign(COMPONENT, "version 1")?;
    let changed = with_line(&signature, 2, "trusted comment: version 2");
    let refused = trust(&[("a", &pair)]).verify(COMPONENT, Some(&changed));
    assert!(matches!(refused, Err(SignatureError::BadSignature { .. })));
    Ok(())
}

#[test]
fn unsigned_unknown_and_malformed_are_told_apart() -> Result<()> {
    let (ours, theirs) = (KeyPair::generate()?, KeyPair::generate()?);
    let keys = trust(&[("ours", &ours)]);
    assert!(matches!(keys.verify(COMPONENT, None), Err(SignatureError::Unsigned)));
    let by_them = theirs.secret.sign(COMPONENT, "x")?;
    match keys.verify(COMPONENT, Some(&by_them)) {
        Err(SignatureError::UnknownKey { id, trusted }) => {
            assert_eq!(id, theirs.public.id());
            assert_eq!(trusted.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(keys.verify(COMPONENT, Some("")), Err(SignatureError::Malformed { .. })));
    Ok(())
}

#[test]
fn nobody_is_trusted_without_keys() -> Result<()> {
    let signature = KeyPair::generate()?.secret.sign(COMPONENT, "x")?;
    let nobody = TrustedKeys::parse(&[])?;
    assert!(nobody.is_empty());
    let refused = nobody.verify(COMPONENT, Some(&signature));
    assert!(matches!(refused, Err(SignatureError::UnknownKey { .. })));
    Ok(())
}

#[test]
fn a_key_with_anothers_id_does_not_stand_in_its_way() -> Result<()> {
    let (real, other) = (KeyPair::generate()?, KeyPair::generate()?);
    // The first 14 characters of base64 hold the kind, the whole id, and half a byte of the key itself.
    let (real_key, other_key) = (real.public.to_string(), other.public.to_string());
    let imposter = format!("{}{}", &real_key[..14], &other_key[14..]);
    assert_eq!(PublicKey::parse(&imposter)?.id(), real.public.id());
    let signature = real.secret.sign(COMPONENT, "x")?;
    let keys = TrustedKeys::parse(&[format!("imposter={imposter}"), format!("real={real_key}")])?;
    assert_eq!(keys.verify(COMPONENT, Some(&signature))?.key.to_string(), "real");
    let only_imposter = TrustedKeys::parse(&[format!("imposter={imposter}")])?;
    let refused = only_imposter.verify(COMPONENT, Some(&signature));
    assert!(matches!(refused, Err(SignatureError::BadSignature { .. })));
    Ok(())
}

/// A global signature that is too short makes the library slice past its end.
#[test]
fn parts_of_wrong_lengths_are_malformed() -> Result<()> {
    let pair = KeyPair::generate()?;
    let keys = trust(&[("a", &pair)]);
    let good = pair.secret.sign(COMPONENT, "x")?;
    let lines: Vec<&str> = good.lines().collect();
    let long = format!("{}{}", lines[3].trim_end_matches('='), "A".repeat(90));
    for bad in [
        with_line(&good, 3, ""),
        with_line(&good, 3, "AAAA"),
        with_line(&good, 3, &lines[3][..84]),
        with_line(&good, 3, &long),
        with_line(&good, 3, &"=".repeat(88)),
        with_line(&good, 3, &format!("{}é==", &lines[3][..84])),
        with_line(&good, 1, "AAAA"),
        with_line(&good, 1, lines[3]),
        with_line(&good, 0, "no comment"),
        with_line(&good, 2, "trusted  comment: x"),
        lines[..3].join("\n"),
        format!("{good}{good}"),
        format!("{good}{}", "\n".repeat(MAX_SIGNATURE)),
    ] {
        let refused = keys.verify(COMPONENT, Some(&bad));
        assert!(matches!(refused, Err(SignatureError::Malformed { .. })), "{bad:?}: {refused:?}");
        assert!(check_form(&bad).is_err());
    }
    Ok(())
}

/// The signature of a component, called the older kind, would be one of the component's hash.
#[test]
fn the_older_kind_does_not_count() -> Result<()> {
    let pair = KeyPair::generate()?;
    let good = pair.secret.sign(COMPONENT, "x")?;
    // Base64 of `ED` begins with RU, that of `Ed` with RW.
    let relabelled = good.replacen("\nRU", "\nRW", 1);
    assert_ne!(relabelled, good);
    let refused = trust(&[("a", &pair)]).verify(COMPONENT, Some(&relabelled));
    assert!(matches!(refused, Err(SignatureError::NotPrehashed)), "{refused:?}");
    Ok(())
}

#[test]
fn comments_that_would_break_the_format_are_refused() -> Result<()> {
    let pair = KeyPair::generate()?;
    for comment in ["two\nlines", "bell\u{7}", " led by a space", "followed by one ", &"x".repeat(1025)] {
        let refused = pair.secret.sign(COMPONENT, comment);
        assert!(matches!(refused, Err(SignatureError::Comment { .. })), "{comment:?}");
    }
    for comment in ["", "tabs\tas minisign uses them", "é", &"x".repeat(1024)] {
        let signature = pair.secret.sign(COMPONENT, comment)?;
        assert_eq!(trust(&[("a", &pair)]).verify(COMPONENT, Some(&signature))?.trusted_comment, comment);
    }
    Ok(())
}

#[test]
fn all_wrong_keys_are_reported_together() -> Result<()> {
    let (a, b) = (KeyPair::generate()?, KeyPair::generate()?);
    let texts = [
        format!("platform={}", a.public),
        "platform=nonsense".to_owned(),
        format!("platform={}", b.public),
        format!("again={}", a.public),
        format!("spaced name={}", b.public),
        format!("={}", b.public),
        String::new(),
    ];
    match TrustedKeys::parse(&texts) {
        Err(SignatureError::Keys { problems }) => assert_eq!(problems.len(), 6, "{problems:?}"),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[test]
fn a_key_without_a_name_is_called_by_its_id() -> Result<()> {
    let pair = KeyPair::generate()?;
    for text in [pair.public.to_string(), pair.public.to_file_text()] {
        let keys = TrustedKeys::parse(&[text])?;
        assert_eq!(keys.names().map(ToString::to_string).collect::<Vec<_>>(), [pair.public.id()]);
    }
    Ok(())
}

#[test]
fn key_files_are_the_owners_and_are_never_overwritten() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (secret, public) = (dir.path().join("key"), dir.path().join("key.pub"));
    let pair = KeyPair::generate()?;
    pair.write(&secret, &public)?;
    assert_eq!(fs::metadata(&secret)?.permissions().mode() & 0o777, 0o600);
    let read = SecretKey::read(&secret)?;
    assert_eq!(read.public()?, pair.public);
    assert_eq!(PublicKey::parse(&fs::read_to_string(&public)?)?, pair.public);

    let other = KeyPair::generate()?;
    assert!(other.write(&secret, &dir.path().join("other.pub")).is_err());
    // The public half is in the way: the secret one does not stay behind.
    let third = dir.path().join("third");
    assert!(other.write(&third, &public).is_err());
    assert!(!third.exists());
    assert_eq!(SecretKey::read(&secret)?.public()?, pair.public);
    Ok(())
}

#[test]
fn secret_keys_do_not_show_in_debug_output() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let pair = KeyPair::generate()?;
    pair.write(&dir.path().join("key"), &dir.path().join("key.pub"))?;
    assert_eq!(format!("{:?}", pair.secret), format!("SecretKey({})", pair.public.id()));
    Ok(())
}

#[test]
fn what_is_no_secret_key_is_refused() -> Result<()> {
    let pair = KeyPair::generate()?;
    let public = pair.public.to_file_text();
    let dir = tempfile::tempdir()?;
    pair.write(&dir.path().join("key"), &dir.path().join("key.pub"))?;
    let secret = fs::read_to_string(dir.path().join("key"))?;
    // Base64 has the half that signs from character 83 on, and the checksum in the last 44.
    let changed = |at: usize| {
        let start = secret.find('\n').expect("two lines") + 1 + at;
        let other = if &secret[start..=start] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &secret[..start], &secret[start + 1..])
    };
    let no_checksum = |text: &str| {
        let text = text.trim_end();
        format!("{}{}=\n", &text[..text.len() - 44], "A".repeat(43))
    };
    assert_eq!(SecretKey::parse(&no_checksum(&secret))?.public()?, pair.public);
    let (damaged, unchecked) = (changed(100), no_checksum(&changed(100)));
    for text in ["", "one line", "untrusted comment: x\nAAAA\n", &public, &damaged, &unchecked] {
        assert!(matches!(SecretKey::parse(text), Err(SignatureError::MalformedKey { .. })), "{text:?}");
    }
    let kind = secret.replacen("\nRWQA", "\nRWRT", 1);
    assert!(matches!(SecretKey::parse(&kind), Err(SignatureError::EncryptedKey)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a registry sends along, it is an error and not a crash.
    #[test]
    fn damaged_signatures_never_verify(cut in 0usize..400, flips in prop::collection::vec((0usize..400, 1u8..128), 1..4)) {
        let pair = KeyPair::generate().unwrap();
        let good = pair.secret.sign(COMPONENT, "comment").unwrap();
        let mut bytes = good.clone().into_bytes();
        // The first line is not covered; everything after it is.
        let covered = good.find('\n').unwrap() + 1;
        for (at, flip) in flips {
            let at = covered + at % (bytes.len() - covered - 1);
            bytes[at] ^= flip;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 8).max(covered));
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        let lines = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        if lines(&text) != lines(&good) {
            prop_assert!(trust(&[("a", &pair)]).verify(COMPONENT, Some(&text)).is_err(), "{text:?}");
        }
    }
}
