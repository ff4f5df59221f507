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

/// Lets the node forward packets.
pub(crate) fn forward() -> Result<(), DatapathError> {
    set("net/ipv4/ip_forward", "1")
}

/// Accepts packets on a link whose way back is another link: replies of translated flows arrive on the primary
/// ENI for pods whose own route back is another ENI's.
pub(crate) fn accept_asymmetric_paths(link: &str) -> Result<(), DatapathError> {
    set(&format!("net/ipv4/conf/{link}/rp_filter"), "2")
}

/// Keeps a pod from becoming the node's IPv6 router by announcing itself (CVE-2020-10749).
pub(crate) fn refuse_router_advertisements(veth: &IfName) -> Result<(), DatapathError> {
    let path = format!("/proc/sys/net/ipv6/conf/{veth}/accept_ra");
    match fs::write(&path, "0") {
        Ok(()) => Ok(()),
        // IPv6 is switched off for the link.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(format!("write 0 to {path}"), error)),
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
