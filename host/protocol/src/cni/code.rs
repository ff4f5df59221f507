//! The one table of error codes: CNI's own (spec 1.1.0, "Error") and enid's from 100 on.
//!
//! One cause has one code, whichever verb meets it. STATUS alone asks another question, so what would end another call
//! with 11, 103 or 109 ends it with 50. Who says what, and whether the same call may succeed when it is repeated:
//!
//! | code | cause | said by | repeat? |
//! | --- | --- | --- | --- |
//! | 1 | `cniVersion` not spoken, or without the verb | plugin | no |
//! | 2 | unknown key, `ipam`, `ipMasq` | plugin | no |
//! | 4 | environment, `CNI_ARGS` | plugin; daemon for identifiers | no |
//! | 5 | stdin or socket unreadable, spool unusable | plugin | yes |
//! | 6 | stdin is no JSON object | plugin | no |
//! | 7 | a key's value cannot be meant; `prevResult` or GC's list is missing; too large to be passed on | plugin | no |
//! | 8 | `CNI_NETNS` is no namespace, or the host's | plugin, daemon | no |
//! | 11 | daemon away, late or breaking off; spool locked; no address yet | plugin, daemon | yes |
//! | 50, 51 | STATUS: no ADD can be served, and whether pods that run may suffer as well | daemon; plugin 50 | yes |
//! | 101 to 109, 111 | as below | daemon; plugin 103, 109 | as below |
//! | 110 | the spool is full | plugin | once a daemon ran |
//!
//! With 11, 50 and 51, and with each of the plugin's own [reasons](super::reason::Reason), `details` is a JSON object
//! with a `reason`.

/// Why a CNI call failed, as a number that runtimes and operators see. One code per cause.
///
/// Code 3 (unknown container) is never sent: it tells a runtime that no DEL is needed. 100 said of a verb that it came
/// later, and is not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Code {
    /// The configuration's `cniVersion` is not spoken here, or does not know the verb.
    IncompatibleVersion = 1,
    /// The configuration has a key that enid does not know.
    UnsupportedField = 2,
    /// A variable of the CNI environment is missing or malformed.
    InvalidEnvironment = 4,
    /// The configuration could not be read from stdin, or the spool not written.
    Io = 5,
    /// Stdin is not a JSON object.
    Undecodable = 6,
    /// The configuration is JSON but cannot be meant.
    InvalidConfig = 7,
    /// `CNI_NETNS` is not a network namespace, or it is the host's own.
    InvalidNetns = 8,
    /// The same call may succeed later: the daemon is away, or no address is free yet.
    TryAgainLater = 11,
    /// STATUS: no ADD can be served now.
    Unavailable = 50,
    /// STATUS: no ADD can be served now, and pods may have lost connectivity.
    LimitedConnectivity = 51,
    /// CHECK: the pod's network is not as ADD left it.
    Drifted = 101,
    /// The daemon is older than the plugin and does not know the request.
    DaemonOutdated = 102,
    /// The daemon or the plugin said something that is not the protocol.
    Protocol = 103,
    /// The pod already has an interface of that name, or the attachment has another address.
    AlreadyAttached = 104,
    /// The kernel refused a change; all of the attachment's were undone.
    Kernel = 105,
    /// EC2 or the instance's limits refuse for good: no retry helps before someone acts.
    Refused = 106,
    /// The daemon has a fault of its own.
    Internal = 107,
    /// CHECK: the daemon holds no such attachment.
    NotAttached = 108,
    /// The peer's user may not use this socket.
    Forbidden = 109,
    /// Too many DELs wait in the spool for a daemon to come back.
    SpoolFull = 110,
    /// The plugin is older than the daemon and cannot report what the pod would have.
    PluginOutdated = 111,
}

impl Code {
    /// All of them, in order.
    pub const ALL: [Code; 21] = [
        Code::IncompatibleVersion,
        Code::UnsupportedField,
        Code::InvalidEnvironment,
        Code::Io,
        Code::Undecodable,
        Code::InvalidConfig,
        Code::InvalidNetns,
        Code::TryAgainLater,
        Code::Unavailable,
        Code::LimitedConnectivity,
        Code::Drifted,
        Code::DaemonOutdated,
        Code::Protocol,
        Code::AlreadyAttached,
        Code::Kernel,
        Code::Refused,
        Code::Internal,
        Code::NotAttached,
        Code::Forbidden,
        Code::SpoolFull,
        Code::PluginOutdated,
    ];

    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }
}
