//! Where in a registry something is: `oci://host:port/repository:tag@sha256:…`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use enid_component_store::Digest;
use enid_component_store::store::MAX_SOURCE;

use crate::error::RegistryError;

const SCHEME: &str = "oci://";

/// Bytes of a repository's name, by the OCI distribution specification.
const MAX_REPOSITORY: usize = 255;

/// Characters of a tag, by the same.
const MAX_TAG: usize = 128;

/// A place in a registry. A digest in it is that of the **manifest**, as everywhere in OCI; the component's own
/// digest is in the manifest, and [`Pushed`](crate::Pushed) and [`Pulled`](crate::Pulled) tell both.
///
/// With a digest, a tag is a remark for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference. Nothing is filled in: no default registry, no default tag.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let wrong = |why: String| {
            let given = text.chars().take(200).collect();
            RegistryError::BadReference { given, why }
        };
        if text.len() > MAX_SOURCE {
            return Err(wrong(format!("it is longer than {MAX_SOURCE} bytes")));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| {
            wrong("it begins with oci://, as in oci://registry.example/team/batched:1.2".to_owned())
        })?;
        let (rest, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|e| wrong(format!("{e}")))?)),
        };
        let (registry, path) = rest.split_once('/').ok_or_else(|| {
            wrong("after the registry comes a repository, as in registry.example/team/batched".to_owned())
        })?;
        let (repository, tag) = match path.split_once(':') {
            None => (path, None),
            Some((repository, tag)) => (repository, Some(tag)),
        };
        if !is_registry(registry) {
            return Err(wrong(format!("{registry:?} is not a host, or a host and a port")));
        }
        if repository.len() > MAX_REPOSITORY || !repository.split('/').all(is_component) {
            return Err(wrong(format!(
                "{repository:?} is not a repository: lower-case letters and digits, parted by / . _ and -"
            )));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(wrong(format!("{tag:?} is not a tag: up to {MAX_TAG} letters, digits, . _ and -")));
        }
        if tag.is_none() && digest.is_none() {
            return Err(wrong("it needs a :tag, a @sha256:… digest, or both".to_owned()));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The host, with its port if one is given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; somebody else may have moved it since.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The manifest's digest.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same place, with the manifest pinned.
    pub fn pinned_to(&self, manifest: Digest) -> Self {
        Self { digest: Some(manifest), ..self.clone() }
    }

    /// What to call the component, for people: the repository's last part, and the tag.
    pub fn name(&self) -> String {
        let last = self.last_part();
        self.tag.as_ref().map_or_else(|| last.to_owned(), |tag| format!("{last}:{tag}"))
    }

    pub(crate) fn last_part(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or(&self.repository)
    }

    /// Whether the registry runs on this machine.
    pub fn is_loopback(&self) -> bool {
        let (host, _) = split_port(&self.registry);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Reference {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A host and its port; the colons within `[…]` are not the port's.
fn split_port(registry: &str) -> (&str, Option<&str>) {
    let after_host = registry.find(']').map_or(0, |bracket| bracket + 1);
    match registry[after_host..].find(':') {
        None => (registry, None),
        Some(colon) => (&registry[..after_host + colon], Some(&registry[after_host + colon + 1..])),
    }
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = split_port(registry);
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_label),
    };
    is_host && port.is_none_or(is_port)
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Letters and digits, parted by one dot, one or two underscores, or dashes.
fn is_component(component: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators =
        component.split(|c: char| c.is_ascii() && is_inner(c as u8)).filter(|s| !s.is_empty());
    let ends_well =
        component.bytes().next().is_some_and(is_inner) && component.bytes().last().is_some_and(is_inner);
    ends_well && separators.all(|s| s == "." || s == "_" || s == "__" || s.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read_and_written_alike() {
        for text in [
            "oci://registry.example/batched:1.2".to_owned(),
            format!("oci://registry.example:5000/team/a__b.c--d/batched@sha256:{HEX}"),
            format!("oci://127.0.0.1:5000/batched:V1_0-rc.1@sha256:{HEX}"),
            "oci://[::1]:5000/batched:1".to_owned(),
            "oci://[::1]/batched:1".to_owned(),
            "oci://localhost/0:latest".to_owned(),
        ] {
            assert_eq!(Reference::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let text = format!("oci://registry.example:5000/team/batched:1.2@sha256:{HEX}");
        let reference = Reference::parse(&text).unwrap();
        assert_eq!(reference.registry(), "registry.example:5000");
        assert_eq!(reference.repository(), "team/batched");
        assert_eq!(reference.tag(), Some("1.2"));
        assert_eq!(reference.digest(), Some(Digest::of(b"")));
        assert_eq!(reference.name(), "batched:1.2");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "x".repeat(2000);
        for text in [
            "",
            "registry.example/batched:1",
            "https://registry.example/batched:1",
            "oci://batched:1",
            "oci://registry.example/batched",
            "oci:///batched:1",
            "oci://registry.example/:1",
            "oci://registry.example//batched:1",
            "oci://registry.example/Batched:1",
            "oci://registry.example/team/../batched:1",
            "oci://registry.example/a___b:1",
            "oci://registry.example/-a:1",
            "oci://registry.example/a?b:1",
            "oci://registry.example/é:1",
            "oci://registry.example/batched:",
            "oci://registry.example/batched:.1",
            "oci://registry.example/batched:1/2",
            "oci://registry.example/batched@sha256:abc",
            "oci://registry.example/batched@sha512:abc",
            "oci://registry.example:0/batched:1",
            "oci://registry.example:99999/batched:1",
            "oci://registry.example:+80/batched:1",
            "oci://user@registry.example/batched:1",
            "oci://user:password@registry.example/batched:1",
            "oci://-x.example/batched:1",
            "oci://[::g]/batched:1",
            "oci://[::1/batched:1",
            "oci://::1/batched:1",
            &format!("oci://registry.example/{long}:1"),
            &format!("oci://registry.example/batched:{}", &long[..129]),
        ] {
            let refused = Reference::parse(text);
            assert!(matches!(refused, Err(RegistryError::BadReference { .. })), "{text}: {refused:?}");
        }
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        let is_loopback = |host: &str| Reference::parse(&format!("oci://{host}/a:1")).unwrap().is_loopback();
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.9.1", "[::1]", "[::1]:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "128.0.0.1:127", "[::2]", "127.0.0.1.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
