//! `[cloud]`: how EC2 and instance metadata are reached.

use std::fmt;
use std::time::Duration;

use super::document::Section;
use super::{is_name, secs};

/// `[cloud]`: how EC2 and instance metadata are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// The region. Default: what instance metadata says.
    pub region: Option<String>,
    /// EC2's address. Default: the region's public endpoint; set it for VPC endpoints and for the lab.
    pub ec2_endpoint: Option<Endpoint>,
    /// Instance metadata's address. Default: `http://169.254.169.254`; set it for the lab.
    pub imds_endpoint: Option<Endpoint>,
    /// How long one attempt of one call may take, in seconds. Default 10: EC2 answers within one, and pods
    /// wait for what follows.
    pub timeout: Duration,
}

impl Default for Cloud {
    fn default() -> Self {
        Self { region: None, ec2_endpoint: None, imds_endpoint: None, timeout: Duration::from_secs(10) }
    }
}

/// The base of an HTTP service: `http://` or `https://`, a host, perhaps a port and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The address as text, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
        let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
        let plain = text.len() <= 1024
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"".contains(&byte));
        let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        let named = !authority.starts_with(':');
        (plain && port_fits && named).then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Cloud {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let url =
            "a URL that starts with http:// or https:// and names a host, like \"http://10.0.0.2:8080\"";
        Self {
            region: section.text("region", "the name of a region, like \"eu-central-1\"", |name| {
                is_name(name, 64, b"-").then(|| name.to_owned())
            }),
            ec2_endpoint: section.text("ec2_endpoint", url, Endpoint::parse),
            imds_endpoint: section.text("imds_endpoint", url, Endpoint::parse),
            timeout: secs(section, "timeout_secs", 1..=60, Self::default().timeout),
        }
    }
}
