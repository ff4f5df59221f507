//! Prefixes as EC2 delegates them.

use std::fmt::Display;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

/// The length of every IPv4 prefix that EC2 delegates.
const IPV4_LENGTH: u8 = 28;
/// The length of every IPv6 prefix that EC2 delegates.
const IPV6_LENGTH: u8 = 80;

/// A prefix of the length that EC2 delegates: one of another length would break every count downstream.
#[derive(Debug)]
pub(crate) struct Delegated<N>(pub(crate) N);

impl FromStr for Delegated<Ipv4Net> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let prefix: Ipv4Net = text.parse().map_err(|why| not_a_prefix(text, why))?;
        of_length(prefix.prefix_len(), IPV4_LENGTH, text).map(|()| Self(prefix.trunc()))
    }
}

impl FromStr for Delegated<Ipv6Net> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let prefix: Ipv6Net = text.parse().map_err(|why| not_a_prefix(text, why))?;
        of_length(prefix.prefix_len(), IPV6_LENGTH, text).map(|()| Self(prefix.trunc()))
    }
}

fn not_a_prefix(text: &str, why: impl Display) -> String {
    format!("`{text:.60}`: {why}")
}

fn of_length(length: u8, right: u8, text: &str) -> Result<(), String> {
    if length == right { Ok(()) } else { Err(format!("`{text:.60}` is not a /{right}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_prefixes_of_either_family_are_taken() {
        for (text, ipv4, ipv6) in [
            ("10.0.0.16/28", true, false),
            ("10.0.0.16/27", false, false),
            ("10.0.0.16", false, false),
            ("2001:db8:0:1:2::/80", false, true),
            ("2001:db8:0:1::/64", false, false),
            ("2001:db8:0:1:2::", false, false),
            ("", false, false),
        ] {
            assert_eq!(text.parse::<Delegated<Ipv4Net>>().is_ok(), ipv4, "{text}");
            assert_eq!(text.parse::<Delegated<Ipv6Net>>().is_ok(), ipv6, "{text}");
        }
        let Delegated(prefix): Delegated<Ipv6Net> = "2001:db8:0:1:2::7/80".parse().unwrap();
        assert_eq!(prefix.to_string(), "2001:db8:0:1:2::/80");
    }
}
