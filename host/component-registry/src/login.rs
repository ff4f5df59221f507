//! User and password for a registry, from where `docker login`, `oras login` and their kin put them.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use enid_component_store::base64;
use serde::Deserialize;

use crate::error::RegistryError;

/// Bytes of a file of logins; real ones have a few hundred.
const MAX_FILE: u64 = 1 << 20;

/// How we show ourselves to a registry. Debug output shows no password.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Login {
    /// Not at all.
    #[default]
    Anonymous,
    /// By HTTP's basic authentication, or in exchange for a token where the registry wants one.
    Password {
        /// Who.
        user: String,
        /// The proof.
        password: String,
    },
}

/// The part of `config.json` that concerns us; Docker keeps much else in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl Login {
    /// The login for `registry` in the file that `REGISTRY_AUTH_FILE` names, else in `$DOCKER_CONFIG/config.json`,
    /// else in `~/.docker/config.json`. Without a file, or without the registry in it, there is none.
    pub fn from_environment(registry: &str) -> Result<Self, RegistryError> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = variable("REGISTRY_AUTH_FILE") {
            return Self::from_file(&path, registry);
        }
        let docker = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
        match docker.map(|dir| dir.join("config.json")).filter(|path| path.exists()) {
            Some(path) => Self::from_file(&path, registry),
            None => Ok(Self::Anonymous),
        }
    }

    /// The login for `registry` in this file. A login that is kept elsewhere, by a helper program, is an error:
    /// without it the registry's answer would only be that it knows nothing.
    pub fn from_file(path: &Path, registry: &str) -> Result<Self, RegistryError> {
        let unreadable = |source| RegistryError::LoginFile { path: path.to_owned(), source };
        let mut text = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(unreadable)?;
        let wrong = |why: String| RegistryError::Login { path: path.to_owned(), why };
        if text.len() as u64 > MAX_FILE {
            return Err(wrong(format!("it has more than {MAX_FILE} bytes")));
        }
        let logins: Logins = serde_json::from_slice(&text).map_err(|e| unreadable(io::Error::from(e)))?;
        let kept_by = |helper: &str| {
            wrong(format!(
                "the login for {registry} is kept by docker-credential-{helper}, which enid does not run"
            ))
        };
        let is_meant = |key: &str| same_registry(key, registry);
        if let Some((_, helper)) = logins.cred_helpers.iter().find(|(key, _)| is_meant(key)) {
            return Err(kept_by(helper));
        }
        let Some((_, auth)) = logins.auths.iter().find(|(key, _)| is_meant(key)) else {
            return Ok(Self::Anonymous);
        };
        if auth.identitytoken.as_ref().is_some_and(|token| !token.is_empty()) {
            return Err(wrong(format!(
                "the login for {registry} is an identity token; log in with a password"
            )));
        }
        match (auth.auth.as_deref().filter(|auth| !auth.is_empty()), &logins.creds_store) {
            (Some(auth), _) => basic(auth)
                .ok_or_else(|| wrong(format!("the login for {registry} is not base64 of user:password"))),
            (None, Some(helper)) => Err(kept_by(helper)),
            (None, None) => Ok(Self::Anonymous),
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => write!(f, "Password({user:?})"),
        }
    }
}

fn basic(auth: &str) -> Option<Login> {
    let text = String::from_utf8(base64::decode(auth)?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Login::Password { user: user.to_owned(), password: password.to_owned() })
}

/// Whether a key of the file means this registry: a host as it is, or in a URL, as Docker Hub's is.
fn same_registry(key: &str, registry: &str) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key);
    let is_hub = |host: &str| host == "docker.io" || host == "index.docker.io";
    host == registry || (is_hub(host) && is_hub(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, registry: &str) -> Result<Login, RegistryError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        Login::from_file(&path, registry)
    }

    fn password(user: &str, password: &str) -> Login {
        Login::Password { user: user.to_owned(), password: password.to_owned() }
    }

    const TWO: &str = r#"{
        "auths": {
            "registry.example:5000": { "auth": "YW5uOnBhOnNz" },
            "https://index.docker.io/v1/": { "auth": "Ym9iOg==", "email": "bob@example" }
        },
        "HttpHeaders": { "User-Agent": "Docker-Client" }
    }"#;

    #[test]
    fn each_registry_has_its_login() {
        assert_eq!(read(TWO, "registry.example:5000").unwrap(), password("ann", "pa:ss"));
        assert_eq!(read(TWO, "docker.io").unwrap(), password("bob", ""));
        assert_eq!(read(TWO, "registry.example").unwrap(), Login::Anonymous);
        assert_eq!(read("{}", "registry.example").unwrap(), Login::Anonymous);
    }

    #[test]
    fn logins_that_are_elsewhere_are_an_error() {
        for text in [
            r#"{"auths":{"r.example":{}},"credsStore":"pass"}"#,
            r#"{"credHelpers":{"r.example":"ecr-login"}}"#,
            r#"{"auths":{"r.example":{"auth":"dTo=","identitytoken":"x"}}}"#,
            r#"{"auths":{"r.example":{"auth":"dTo"}}}"#,
            r#"{"auths":{"r.example":{"auth":"bm9ib2R5"}}}"#,
        ] {
            assert!(matches!(read(text, "r.example"), Err(RegistryError::Login { .. })), "{text}");
            assert_eq!(read(text, "other.example").unwrap(), Login::Anonymous);
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_readable() {
        let missing = Login::from_file(Path::new("/nonexistent/auth.json"), "r.example");
        assert!(matches!(missing, Err(RegistryError::LoginFile { .. })));
        assert!(matches!(read("{", "r.example"), Err(RegistryError::LoginFile { .. })));
    }

    #[test]
    fn passwords_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", password("ann", "secret")), "Password(\"ann\")");
    }
}
