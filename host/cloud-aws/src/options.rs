//! Where EC2 and metadata are reached, and how patiently.

use std::time::Duration;

/// How to reach EC2 and instance metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The region to call; by default `AWS_REGION`, else the one that metadata names.
    pub region: Option<String>,
    /// EC2's address instead of the region's public one: `http://…` or `https://…`.
    pub ec2_endpoint: Option<String>,
    /// Metadata's address instead of the link-local one: `http://…`.
    pub imds_endpoint: Option<String>,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// How long a call may take; it is tried once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From the start of the call, credentials included, to the end of the answer.
    pub operation: Duration,
}

impl Default for Timeouts {
    /// Two seconds to connect, since EC2 and metadata are near; ten in all, since EC2 answers mutating
    /// calls in one or two and a waiting pod is better served by another attempt.
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), operation: Duration::from_secs(10) }
    }
}

/// Options that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// An endpoint is not a URL of the kind needed.
    #[error("the {service} endpoint `{endpoint}` is not a URL that starts with {allowed} and names a host")]
    BadEndpoint {
        /// `EC2` or `metadata`.
        service: &'static str,
        /// The value given.
        endpoint: String,
        /// The schemes that would do.
        allowed: &'static str,
    },
}

impl Options {
    /// Refuses endpoints that the SDK would only stumble over at the first call.
    pub(crate) fn checked(self) -> Result<Self, ConnectError> {
        if let Some(endpoint) = &self.ec2_endpoint
            && !(names_host(endpoint, "http://") || names_host(endpoint, "https://"))
        {
            let allowed = "`http://` or `https://`";
            return Err(ConnectError::BadEndpoint { service: "EC2", endpoint: endpoint.clone(), allowed });
        }
        if let Some(endpoint) = &self.imds_endpoint
            && !names_host(endpoint, "http://")
        {
            let allowed = "`http://`";
            return Err(ConnectError::BadEndpoint {
                service: "metadata",
                endpoint: endpoint.clone(),
                allowed,
            });
        }
        Ok(self)
    }
}

fn names_host(endpoint: &str, scheme: &str) -> bool {
    endpoint.strip_prefix(scheme).is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && rest.bytes().all(|byte| {
                byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'@' | b'"' | b'<' | b'>')
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_must_be_urls_of_the_right_scheme() {
        for (ec2, metadata, ok) in [
            (None, None, true),
            (Some("http://10.0.0.9:8000"), Some("http://169.254.169.254"), true),
            (Some("https://ec2.eu-central-1.amazonaws.com/"), Some("http://[fd00:ec2::254]/"), true),
            (Some("10.0.0.9:8000"), None, false),
            (Some("http://"), None, false),
            (Some("http:// space"), None, false),
            (Some("ftp://host"), None, false),
            (None, Some("https://169.254.169.254"), false),
            (None, Some("169.254.169.254"), false),
        ] {
            let options = Options {
                ec2_endpoint: ec2.map(str::to_owned),
                imds_endpoint: metadata.map(str::to_owned),
                ..Options::default()
            };
            assert_eq!(options.checked().is_ok(), ok, "{ec2:?} {metadata:?}");
        }
    }
}
