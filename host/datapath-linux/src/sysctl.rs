//! Kernel settings of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::Path;

use enid_core::ids::IfName;
use enid_engine::ports::DatapathError;

use crate::netlink::failed;

/// A setting and the value that it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    name: String,
    value: &'static str,
    absence: Absence,
}

/// What it means that the kernel does not have a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// Something that is needed is missing.
    Failure,
    /// There is nothing to set: IPv6 is off for the link, or the link is gone.
    Right,
}

impl Setting {
    fn needed(name: impl Into<String>, value: &'static str) -> Self {
        Self { name: name.into(), value, absence: Absence::Failure }
    }

    fn if_there(name: impl Into<String>, value: &'static str) -> Self {
        Self { name: name.into(), value, absence: Absence::Right }
    }

    /// What it should be.
    pub(crate) fn value(&self) -> &'static str {
        self.value
    }

    /// What it is, if that is something else than it should be.
    pub(crate) fn other_value(&self) -> Result<Option<String>, DatapathError> {
        let path = self.path();
        match fs::read_to_string(&path) {
            Ok(value) if value.trim() == self.value => Ok(None),
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(error) if self.is_right_without(&error) => Ok(None),
            Err(error) => Err(failed(format!("read {path}"), error)),
        }
    }

    /// Sets it without a look at what it is: for a link that was made a moment ago.
    pub(crate) fn write(&self) -> Result<(), DatapathError> {
        let path = self.path();
        match fs::write(&path, self.value) {
            Ok(()) => Ok(()),
            Err(error) if self.is_right_without(&error) => Ok(()),
            Err(error) => Err(failed(format!("write {} to {path}", self.value), error)),
        }
    }

    /// Reads before it writes: a setting that is right is not touched, even where it could not be.
    pub(crate) fn apply(&self) -> Result<(), DatapathError> {
        if self.other_value()?.is_some() { self.write() } else { Ok(()) }
    }

    fn path(&self) -> String {
        format!("/proc/sys/{}", self.name)
    }

    fn is_right_without(&self, error: &io::Error) -> bool {
        self.absence == Absence::Right && error.kind() == io::ErrorKind::NotFound
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "setting {}", self.name)
    }
}

/// Whether the kernel speaks IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Lets the node forward IPv4 packets.
pub(crate) fn forward_ipv4() -> Setting {
    Setting::needed("net/ipv4/ip_forward", "1")
}

/// Lets the node forward IPv6 packets, on its primary ENI, too, where an image has switched IPv6 off. A router
/// listens to no other routers, and forgets what it heard from them: the primary ENI, whose default route comes from
/// there, first learns to listen all the same.
pub(crate) fn forward_ipv6(primary: &str) -> [Setting; 3] {
    [
        Setting::needed(format!("net/ipv6/conf/{primary}/accept_ra"), "2"),
        Setting::needed(format!("net/ipv6/conf/{primary}/disable_ipv6"), "0"),
        forward_all_ipv6(),
    ]
}

/// The setting that makes the kernel forward IPv6 packets at all, and a router of every link that is there.
pub(crate) fn forward_all_ipv6() -> Setting {
    Setting::if_there("net/ipv6/conf/all/forwarding", "1")
}

/// Accepts packets on a link whose way back is another link: replies of translated flows arrive on the
/// primary ENI for pods whose own route back is another ENI's.
pub(crate) fn accept_asymmetric_paths(link: &str) -> Setting {
    Setting::needed(format!("net/ipv4/conf/{link}/rp_filter"), "2")
}

/// Keeps a pod from becoming the node's IPv6 router by announcing itself (CVE-2020-10749).
pub(crate) fn refuse_router_advertisements(veth: &IfName) -> Setting {
    Setting::if_there(format!("net/ipv6/conf/{veth}/accept_ra"), "0")
}

/// Switches IPv6 on for either end of an IPv6 pod's pair. Where the image has it off for new links, no route could
/// lead to the host end.
pub(crate) fn speak_ipv6(link: &IfName) -> Setting {
    Setting::if_there(format!("net/ipv6/conf/{link}/disable_ipv6"), "0")
}

/// Makes the host end of an IPv6 pod's pair a host on that link and not a router, as the incumbent has it. It
/// forwards all the same: only the setting for the whole namespace decides that. Unlike the incumbent's, it takes no
/// redirects, by which a pod could steer the node's own traffic.
pub(crate) fn be_a_host_to_the_pod(veth: &str) -> [Setting; 2] {
    ["accept_redirects", "forwarding"]
        .map(|setting| Setting::if_there(format!("net/ipv6/conf/{veth}/{setting}"), "0"))
}

/// Switches IPv6 on for a link and for loopback where an image or a runtime has switched it off.
pub(crate) fn enable_ipv6(link: &IfName) -> Result<(), DatapathError> {
    speak_ipv6(link).apply()?;
    Setting::needed("net/ipv6/conf/lo/disable_ipv6", "0").apply()
}
