//! Who vouches for a component: detached Ed25519 signatures in minisign's format.
//!
//! A signature is a text of four lines beside the component (`.minisig`): it covers the component's bytes, and a
//! comment that can be trusted as much as they can. What `minisign` signs we verify, and the other way round.
//!
//! Only signatures of the prehashed kind count, which minisign has made by default since 0.10. With the older
//! kind beside it, somebody else's signature of a component would also be one of its 64-byte hash.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::base64;

/// Bytes that a signature may have; minisign's own with its usual comments have about 350.
pub const MAX_SIGNATURE: usize = 4096;

/// Bytes of a comment that we sign.
const MAX_COMMENT: usize = 1024;

/// Keys that one may trust at once: an organisation has a few, and each costs a line of settings.
const MAX_KEYS: usize = 64;

/// Characters that a key's name may have.
const MAX_KEY_NAME: usize = 63;

/// How much of a wrong key an error shows: enough to find it, and not all of a secret one in the wrong place.
const SHOWN: usize = 40;

/// Bytes of a signature with its kind and key id, and of the bare one that covers the comment.
const SIGNATURE_BYTES: usize = 74;
const GLOBAL_SIGNATURE_BYTES: usize = 64;

/// Bytes of a secret key's file, and how many of them at the end are a checksum.
const SECRET_KEY_BYTES: usize = 158;
const CHECKSUM_BYTES: usize = 32;

/// What the first two bytes of any minisign key say: Ed25519.
const ED25519: &[u8] = b"Ed";

/// What the next two say of a secret key that needs none.
const NO_PASSWORD: &[u8] = &[0, 0];

/// What an operator calls a key: the name given in the settings, or else the key's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What verifies signatures; may be shown to anyone. Displays as the one line of base64 that settings hold.
#[derive(Clone)]
pub struct PublicKey(minisign::PublicKey);

impl PublicKey {
    /// Reads the line of base64, or the text of a whole `.pub` file.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        Self::read(text).map_err(|why| SignatureError::MalformedKey { why })
    }

    /// The key, or what is wrong with it.
    fn read(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let key = match (lines.next(), lines.next(), lines.next()) {
            (Some(key), None, None) => key,
            (Some(comment), Some(key), None) if comment.starts_with("untrusted comment:") => key,
            _ => return Err("expected a line of base64, or the text of minisign's .pub file".to_owned()),
        };
        let key = minisign::PublicKey::from_base64(key).map_err(|e| e.to_string())?;
        if !key.to_bytes().starts_with(ED25519) {
            return Err("it is not an Ed25519 key of minisign".to_owned());
        }
        Ok(Self(key))
    }

    /// The key's id, as minisign shows it. Whoever makes a key can choose its id.
    pub fn id(&self) -> String {
        id(self.0.keynum())
    }

    /// The text of a `.pub` file.
    pub fn to_file_text(&self) -> String {
        format!("untrusted comment: minisign public key {}\n{self}\n", self.id())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bytes() == other.0.to_bytes()
    }
}

impl Eq for PublicKey {}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// What makes signatures. Its debug output does not show it.
pub struct SecretKey(minisign::SecretKey);

impl SecretKey {
    /// Reads the text of a secret key file that has no password; with one, `minisign -S` signs.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let malformed = |why: &str| SignatureError::MalformedKey { why: why.to_owned() };
        let bytes = text
            .lines()
            .nth(1)
            .and_then(|line| base64::decode(line.trim()))
            .filter(|bytes| bytes.len() == SECRET_KEY_BYTES && bytes.starts_with(ED25519))
            .ok_or_else(|| malformed("expected the text of minisign's secret key file"))?;
        if !bytes[2..].starts_with(NO_PASSWORD) {
            return Err(SignatureError::EncryptedKey);
        }
        let read = if bytes[SECRET_KEY_BYTES - CHECKSUM_BYTES..] == [0; CHECKSUM_BYTES] {
            // minisign up to 0.11 writes no checksum where there is no password.
            minisign::SecretKey::from_bytes(&bytes)
        } else {
            minisign::SecretKeyBox::from(text.to_owned()).into_unencrypted_secret_key()
        };
        let key = Self(read.map_err(|e| malformed(&e.to_string()))?);
        // Signing compares both halves of the key.
        match minisign::sign(Some(&key.public()?.0), &key.0, io::empty(), Some(""), None) {
            Ok(_) => Ok(key),
            Err(_) => Err(malformed("its two halves are not of one key: the file is damaged")),
        }
    }

    /// Reads a secret key file that has no password.
    pub fn read(path: &Path) -> Result<Self, SignatureError> {
        let attempt = || format!("read the secret key {}", path.display());
        let text =
            fs::read_to_string(path).map_err(|source| SignatureError::Io { attempt: attempt(), source })?;
        Self::parse(&text)
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> Result<PublicKey, SignatureError> {
        minisign::PublicKey::from_secret_key(&self.0)
            .map(PublicKey)
            .map_err(|e| SignatureError::MalformedKey { why: e.to_string() })
    }

    /// Signs `bytes` together with a comment of one line: the text of a `.minisig` file.
    pub fn sign(&self, bytes: &[u8], trusted_comment: &str) -> Result<String, SignatureError> {
        let why = if trusted_comment.len() > MAX_COMMENT {
            Some("it is longer than 1024 bytes")
        } else if trusted_comment.chars().any(|c| c.is_control() && c != '\t') {
            Some("it has more than one line, or other control characters")
        } else if trusted_comment.trim() != trusted_comment {
            Some("it begins or ends with a space")
        } else {
            None
        };
        if let Some(why) = why {
            return Err(SignatureError::Comment { why });
        }
        let by = format!("signature by key {}", id(self.0.keynum()));
        let signed = minisign::sign(None, &self.0, Cursor::new(bytes), Some(trusted_comment), Some(&by));
        signed.map(|signed| signed.to_string()).map_err(|e| SignatureError::CannotSign { why: e.to_string() })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", id(self.0.keynum()))
    }
}

/// A new key, both halves.
#[derive(Debug)]
pub struct KeyPair {
    /// What signs.
    pub secret: SecretKey,
    /// What verifies.
    pub public: PublicKey,
}

impl KeyPair {
    /// Makes a key from the system's randomness.
    pub fn generate() -> Result<Self, SignatureError> {
        let pair = minisign::KeyPair::generate_unencrypted_keypair()
            .map_err(|e| SignatureError::CannotSign { why: e.to_string() })?;
        Ok(Self { secret: SecretKey(pair.sk), public: PublicKey(pair.pk) })
    }

    /// Writes both halves into files that must not exist: the secret one without a password, for its owner only.
    ///
    /// On failure neither file is left.
    pub fn write(&self, secret: &Path, public: &Path) -> Result<(), SignatureError> {
        let comment = format!("enid secret key {} without a password", self.public.id());
        let text = self
            .secret
            .0
            .to_box(Some(&comment))
            .map_err(|e| SignatureError::CannotSign { why: e.to_string() })?
            .into_string();
        write_new(secret, 0o600, &text)?;
        write_new(public, 0o644, &self.public.to_file_text()).inspect_err(|_| {
            // The failure that is reported is the first one.
            let _ = fs::remove_file(secret);
        })
    }
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), SignatureError> {
    let failed = |source| SignatureError::Io { attempt: format!("write the key {}", path.display()), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|source| {
        let _ = fs::remove_file(path);
        failed(source)
    })
}

/// The keys whose signatures count, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    keys: Vec<(KeyName, PublicKey)>,
}

/// A signature that was found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Whose it is.
    pub key: KeyName,
    /// What was signed along; the signer's words, unescaped.
    pub trusted_comment: String,
}

impl TrustedKeys {
    /// Reads keys as settings hold them: a public key in base64, or `name=` and one. Reports all that are wrong.
    pub fn parse(texts: &[String]) -> Result<Self, SignatureError> {
        let mut keys: Vec<(KeyName, PublicKey)> = Vec::new();
        let mut problems = Vec::new();
        for text in texts {
            let parsed = parse_named(text).and_then(|(name, key)| {
                if keys.len() == MAX_KEYS {
                    return Err(format!("at most {MAX_KEYS} keys can be trusted"));
                }
                match keys.iter().find(|(other_name, other)| *other_name == name || *other == key) {
                    Some((other_name, other)) if *other == key => {
                        Err(format!("it is the same key as {other_name}"))
                    }
                    Some((other_name, _)) => Err(format!("another key is called {other_name}")),
                    None => Ok((name, key)),
                }
            });
            match parsed {
                Ok(named) => keys.push(named),
                Err(why) => problems.push(KeyProblem { given: text.chars().take(SHOWN).collect(), why }),
            }
        }
        if problems.is_empty() { Ok(Self { keys }) } else { Err(SignatureError::Keys { problems }) }
    }

    /// Whether no signature at all would count.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The names, in the order of the settings.
    pub fn names(&self) -> impl Iterator<Item = &KeyName> {
        self.keys.iter().map(|(name, _)| name)
    }

    /// Finds out whose signature of `bytes` this is; the text of a `.minisig` file, if there is one.
    pub fn verify(&self, bytes: &[u8], signature: Option<&str>) -> Result<Verified, SignatureError> {
        let signature = read_signature(signature.ok_or(SignatureError::Unsigned)?)?;
        let by = signature.keynum();
        let mut rejected = None;
        // Ids are the signer's choice: two keys may share one.
        for (name, key) in self.keys.iter().filter(|(_, key)| key.0.keynum() == by) {
            // Quietly, without copying the data to the output, and never the older kind.
            if minisign::verify(&key.0, &signature, Cursor::new(bytes), true, false, false).is_ok() {
                let trusted_comment = signature
                    .trusted_comment()
                    .map_err(|e| SignatureError::Malformed { why: e.to_string() })?;
                return Ok(Verified { key: name.clone(), trusted_comment });
            }
            rejected.get_or_insert_with(|| name.clone());
        }
        Err(match rejected {
            Some(key) => SignatureError::BadSignature { key },
            None => SignatureError::UnknownKey { id: id(by), trusted: self.names().cloned().collect() },
        })
    }
}

/// Whether `text` has the form of a signature that [`TrustedKeys::verify`] could accept, whoever made it.
pub fn check_form(text: &str) -> Result<(), SignatureError> {
    read_signature(text).map(drop)
}

/// A name and a key, or what is wrong with them.
fn parse_named(text: &str) -> Result<(KeyName, PublicKey), String> {
    // Base64 of a public key needs no padding, so the first `=` ends a name.
    let (name, key) = match text.split_once('=') {
        Some((name, key)) => (Some(name.trim()), key),
        None => (None, text),
    };
    let key = PublicKey::read(key)?;
    let name = match name {
        None => key.id(),
        Some(name) if is_name(name) => name.to_owned(),
        Some(name) => {
            return Err(format!(
                "{:?} is not a name: up to {MAX_KEY_NAME} of a-z, A-Z, 0-9, '.', '-' and '_'",
                name.chars().take(SHOWN).collect::<String>()
            ));
        }
    };
    Ok((KeyName(name), key))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Reads a signature whose parts have the lengths that minisign's functions rely on.
fn read_signature(text: &str) -> Result<minisign::SignatureBox, SignatureError> {
    let malformed = |why: &str| SignatureError::Malformed { why: why.to_owned() };
    if text.len() > MAX_SIGNATURE {
        return Err(malformed("it is longer than 4096 bytes"));
    }
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let [_, signature, _, global_signature] = lines[..] else {
        return Err(malformed("it has not four lines"));
    };
    let has_bytes = |line, count| base64::decode(line).is_some_and(|bytes| bytes.len() == count);
    if !has_bytes(signature, SIGNATURE_BYTES) || !has_bytes(global_signature, GLOBAL_SIGNATURE_BYTES) {
        return Err(malformed("its second or fourth line is not a signature in base64"));
    }
    let signature = minisign::SignatureBox::from_string(text).map_err(|e| malformed(&e.to_string()))?;
    if !signature.is_prehashed() {
        return Err(SignatureError::NotPrehashed);
    }
    Ok(signature)
}

/// A key's id as minisign shows it: a little-endian number.
fn id(keynum: &[u8]) -> String {
    keynum.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// A trusted key in the settings that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?}: {why}")]
pub struct KeyProblem {
    /// The setting, cut.
    pub given: String,
    /// What is wrong with it.
    pub why: String,
}

/// A component could not be signed, or its signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The bytes, or the comment, are not what was signed.
    #[error("the signature that names the key {key} is not its signature of this component")]
    BadSignature {
        /// The trusted key with the signature's key id.
        key: KeyName,
    },
    /// Randomness or encoding failed.
    #[error("make a key or a signature: {why}")]
    CannotSign {
        /// What the library says.
        why: String,
    },
    /// The comment to be signed does not fit on its line.
    #[error("a trusted comment is one line: {why}")]
    Comment {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The secret key has a password.
    #[error(
        "the secret key has a password, which enid does not ask for: sign with `minisign -S`, whose signatures \
         are as good"
    )]
    EncryptedKey,
    /// A key file could not be read or written.
    #[error("{attempt}")]
    Io {
        /// What was attempted, on what.
        attempt: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Some trusted keys in the settings are none.
    #[error("trusted keys: {}", join(.problems))]
    Keys {
        /// All of them.
        problems: Vec<KeyProblem>,
    },
    /// A text that was to be a signature is none.
    #[error("not a signature of minisign: {why}")]
    Malformed {
        /// What is wrong with it.
        why: String,
    },
    /// A text that was to be a key is none.
    #[error("not a key of minisign: {why}")]
    MalformedKey {
        /// What is wrong with it.
        why: String,
    },
    /// A signature of the older kind.
    #[error("the signature is of minisign's older kind: sign again without -l")]
    NotPrehashed,
    /// Whoever signed is not trusted here.
    #[error("the signature is by key {id}, and trusted are {}", names(.trusted))]
    UnknownKey {
        /// The id that the signature names.
        id: String,
        /// The keys that would count.
        trusted: Vec<KeyName>,
    },
    /// There is no signature.
    #[error("the component is not signed")]
    Unsigned,
}

fn join(problems: &[KeyProblem]) -> String {
    problems.iter().map(KeyProblem::to_string).collect::<Vec<_>>().join("; ")
}

fn names(keys: &[KeyName]) -> String {
    if keys.is_empty() {
        return "no keys".to_owned();
    }
    keys.iter().map(KeyName::to_string).collect::<Vec<_>>().join(", ")
}
