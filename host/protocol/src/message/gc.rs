//! What GC leaves alone.

use serde::{Deserialize, Serialize};

/// How many attachments GC may list: four times the pods that a node of Kubernetes can have. With containerd's ids of
/// 64 digits a frame has room for some 2,700 of them, so a request may be too large before it is too long.
pub const MAX_VALID: usize = 4096;

/// CNI GC. Everything of the network that is not listed may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gc {
    /// The network's name.
    pub network: String,
    /// What the runtime still has, at most [`MAX_VALID`]. Never absent: a list that did not arrive is not an empty one.
    pub valid: Vec<ValidAttachment>,
    /// How long the plugin waits from now.
    pub timeout_ms: u64,
    /// `TRACEPARENT`, passed on for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// An attachment of GC's network that the runtime still has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValidAttachment {
    /// Its container id.
    pub container: String,
    /// Its interface in the pod.
    pub ifname: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameError;
    use crate::message::Request;

    fn listing(attachments: usize) -> Result<Vec<u8>, FrameError> {
        let valid = (0..attachments)
            .map(|n| ValidAttachment { container: format!("{n:064x}"), ifname: "eth0".to_owned() });
        let gc = Gc { network: "enid".to_owned(), valid: valid.collect(), timeout_ms: 29_000, trace: None };
        Request::Gc(gc).to_frame()
    }

    #[test]
    fn a_full_node_s_list_fits_a_frame_twice_over() {
        assert!(listing(2 * 1_000).is_ok());
        assert!(listing(2_600).is_ok());
        assert!(matches!(listing(MAX_VALID), Err(FrameError::Oversized { .. })));
    }

    #[test]
    fn a_list_that_did_not_arrive_is_not_an_empty_one() {
        let body = br#"{"v":1,"request":{"gc":{"network":"enid","timeout_ms":1}}}"#;
        assert!(Request::from_body(body).is_err());
        let body = br#"{"v":1,"request":{"gc":{"network":"enid","valid":null,"timeout_ms":1}}}"#;
        assert!(Request::from_body(body).is_err());
    }
}
