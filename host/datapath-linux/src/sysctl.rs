//! Kernel settings of the calling thread's network namespace.

use std::fs;
use std::io;
use std::path::Path;

use enid_core::ids::IfName;
use enid_engine::ports::DatapathError;

use crate::netlink::failed;

/// Whether the kernel speaks IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Lets the node forward IPv4 packets.
pub(crate) fn forward_ipv4() -> Result<(), DatapathError> {
    set("net/ipv4/ip_forward", "1")
}

/// Lets the node forward IPv6 packets, on its primary ENI, too, where an image has switched IPv6 off. A router
/// listens to no other routers, and forgets what it heard from them: the primary ENI, whose default route comes from
/// there, first learns to listen all the same.
pub(crate) fn forward_ipv6(primary: &str) -> Result<(), DatapathError> {
    set(&format!("net/ipv6/conf/{primary}/accept_ra"), "2")?;
    set(&format!("net/ipv6/conf/{primary}/disable_ipv6"), "0")?;
    set("net/ipv6/conf/all/forwarding", "1")
}

/// Accepts packets on a link whose way back is another link: replies of translated flows arrive on the
/// primary ENI for pods whose own route back is another ENI's.
pub(crate) fn accept_asymmetric_paths(link: &str) -> Result<(), DatapathError> {
    set(&format!("net/ipv4/conf/{link}/rp_filter"), "2")
}

/// Keeps a pod from becoming the node's IPv6 router by announcing itself (CVE-2020-10749).
pub(crate) fn refuse_router_advertisements(veth: &IfName) -> Result<(), DatapathError> {
    write_if_there(&format!("/proc/sys/net/ipv6/conf/{veth}/accept_ra"), "0")
}

/// Makes the host end of an IPv6 pod's pair a host on that link and not a router, as the incumbent has it. It
/// forwards all the same: only the setting for the whole namespace decides that. Unlike the incumbent's, it takes no
/// redirects, by which a pod could steer the node's own traffic. Where the image has IPv6 off for new links, no route
/// could lead there.
pub(crate) fn be_a_host_to_the_pod(veth: &IfName) -> Result<(), DatapathError> {
    set(&format!("net/ipv6/conf/{veth}/disable_ipv6"), "0")?;
    write_if_there(&format!("/proc/sys/net/ipv6/conf/{veth}/accept_redirects"), "0")?;
    write_if_there(&format!("/proc/sys/net/ipv6/conf/{veth}/forwarding"), "0")
}

/// Switches IPv6 on for a link and for loopback where an image or a runtime has switched it off.
pub(crate) fn enable_ipv6(link: &IfName) -> Result<(), DatapathError> {
    set(&format!("net/ipv6/conf/{link}/disable_ipv6"), "0")?;
    set("net/ipv6/conf/lo/disable_ipv6", "0")
}

/// For a link that was made a moment ago. The setting is missing where IPv6 is switched off for the link.
fn write_if_there(path: &str, value: &str) -> Result<(), DatapathError> {
    match fs::write(path, value) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(format!("write {value} to {path}"), error)),
    }
}

/// Reads before it writes: a setting that is right is not touched, even where it could not be.
fn set(name: &str, value: &str) -> Result<(), DatapathError> {
    let path = format!("/proc/sys/{name}");
    let current = fs::read_to_string(&path).map_err(|error| failed(format!("read {path}"), error))?;
    if current.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(|error| failed(format!("write {value} to {path}"), error))
}
