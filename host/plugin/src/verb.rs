//! What each CNI verb does.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use enid_protocol::cni::annotations::Nics;
use enid_protocol::cni::call::{Call, Target, Verb};
use enid_protocol::cni::code::Code;
use enid_protocol::cni::config::{NetConfig, version_for_errors};
use enid_protocol::cni::error::CniError;
use enid_protocol::cni::reason::Reason;
use enid_protocol::cni::result::{self, Answering};
use enid_protocol::cni::version::version_document;
use enid_protocol::message::{Add, Added, Check, Del, Gc, Reply, Request};
use enid_protocol::spool::{Spool, SpoolError};
use serde_json::Value;

use crate::daemon::{self, NoReply};
use crate::netns::{self, OwnNamespace};
use crate::stdin;

/// How long a runtime may take to write the configuration: it sits in memory there.
const STDIN_PATIENCE: Duration = Duration::from_secs(10);
/// VERSION answers without stdin, so it waits only for a configuration that is being written; STATUS answers soon.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// The daemon answers this much before we stop listening, so that its reason arrives.
const GRACE: Duration = Duration::from_secs(1);

/// What the plugin says.
pub(crate) enum Answer {
    /// Who it is: nobody called a verb.
    About,
    /// Success without a document.
    Silent,
    /// Success with this document.
    Document(Value),
    /// Failure with this document.
    Failed(Value),
}

/// Performs one call.
pub(crate) fn perform(call: Call) -> Answer {
    let patience = match &call {
        Call::About => return Answer::About,
        Call::Status | Call::Version => SHORT_PATIENCE,
        Call::Add { .. } | Call::Check { .. } | Call::Del { .. } | Call::Gc { .. } => STDIN_PATIENCE,
    };
    let (input, outcome) = match (stdin::read(patience), call) {
        (input, Call::Version) => return Answer::Document(version_document(&input.unwrap_or_default())),
        (Ok(input), call) => {
            let outcome = answer(call, &input);
            (input, outcome)
        }
        (Err(error), _) => (Vec::new(), Err(error)),
    };
    outcome.unwrap_or_else(|error| Answer::Failed(error.document(version_for_errors(&input))))
}

fn answer(call: Call, input: &[u8]) -> Result<Answer, CniError> {
    match call {
        Call::About | Call::Version => Ok(Answer::About),
        Call::Add { target, own_netns_allowed } => {
            let own = if own_netns_allowed { OwnNamespace::Allowed } else { OwnNamespace::Refused };
            add(&target, own, &NetConfig::parse(input, Verb::Add)?)
        }
        Call::Check { target } => check(&target, &NetConfig::parse(input, Verb::Check)?),
        Call::Del { target } => del(&target, &NetConfig::parse(input, Verb::Del)?),
        Call::Gc { trace } => gc(trace, &NetConfig::parse(input, Verb::Gc)?),
        Call::Status => status(&NetConfig::parse(input, Verb::Status)?),
    }
}

fn add(target: &Target, own: OwnNamespace, config: &NetConfig) -> Result<Answer, CniError> {
    let deadline = Instant::now() + config.timeout;
    let netns = netns::open_pod(&target.netns, own)?;
    let add = Add {
        container: target.container.clone(),
        network: config.name.clone(),
        ifname: target.ifname.clone(),
        netns: target.netns.clone(),
        pod: target.args.clone().overridden_by(config.args.clone()).into_pod(),
        timeout_ms: told(config.timeout),
        trace: target.trace.clone(),
        reads: vec![Reply::ADDED_INTERFACES.to_owned()],
    };
    let request = match config.nics {
        Nics::One => Request::Add(add),
        Nics::EveryCard => Request::AddEveryCard(add),
    };
    let document = |added| {
        let answering = Answering {
            version: config.version,
            ifname: &target.ifname,
            netns: &target.netns,
            dns: config.dns.as_ref(),
            previous: config.previous.as_ref(),
        };
        Ok(Answer::Document(result::document(&added, answering)))
    };
    let reply = daemon::ask(&config.socket, &request, Some(netns.as_fd()), deadline);
    match reply.map_err(|error| error.to_error(&config.socket))? {
        Reply::Added(added) => document(Added::from(added)),
        Reply::AddedInterfaces(added) => document(*added),
        Reply::Failed(failed) => Err(failed.into()),
        other @ (Reply::Checked | Reply::Done | Reply::Hello { .. } | Reply::Report(_)) => {
            Err(misplaced(&other, Verb::Add, &config.socket))
        }
    }
}

fn check(target: &Target, config: &NetConfig) -> Result<Answer, CniError> {
    let deadline = Instant::now() + config.timeout;
    let netns = netns::open_pod(&target.netns, OwnNamespace::Allowed)?;
    let addresses: Vec<_> =
        config.previous.iter().flat_map(|previous| previous.addresses_of(&target.ifname)).collect();
    if addresses.is_empty() {
        let message = format!("`prevResult` has no address on {}", target.ifname);
        return Err(CniError::new(
            Code::InvalidConfig,
            message,
            "enid's ADD result has one; who changed it?",
        ));
    }
    let request = Request::Check(Check {
        container: target.container.clone(),
        network: config.name.clone(),
        ifname: target.ifname.clone(),
        netns: target.netns.clone(),
        pod: target.args.clone().overridden_by(config.args.clone()).into_pod(),
        addresses,
        timeout_ms: told(config.timeout),
        trace: target.trace.clone(),
    });
    let reply = daemon::ask(&config.socket, &request, Some(netns.as_fd()), deadline);
    match reply.map_err(|error| error.to_error(&config.socket))? {
        Reply::Checked => Ok(Answer::Silent),
        Reply::Failed(failed) => Err(failed.into()),
        other @ (Reply::Added(_)
        | Reply::AddedInterfaces(_)
        | Reply::Done
        | Reply::Hello { .. }
        | Reply::Report(_)) => Err(misplaced(&other, Verb::Check, &config.socket)),
    }
}

fn del(target: &Target, config: &NetConfig) -> Result<Answer, CniError> {
    let deadline = Instant::now() + config.timeout;
    let del = Del {
        container: target.container.clone(),
        network: config.name.clone(),
        ifname: target.ifname.clone(),
        netns: target.netns.clone(),
        pod: target.args.clone().overridden_by(config.args.clone()).into_pod(),
        timeout_ms: told(config.timeout),
        trace: target.trace.clone(),
    };
    let ask = |until| match daemon::ask(&config.socket, &Request::Del(del.clone()), None, until) {
        Err(NoReply::TooLarge(_)) => daemon::ask(&config.socket, &Request::Del(del.bare()), None, until),
        reply => reply,
    };
    let spool = Spool::new(&config.spool);
    // The daemon is asked until shortly before the end: what is left is for the spool.
    let reply = match ask(deadline - grace(config.timeout)) {
        Err(NoReply::Away(_) | NoReply::Closed) => {
            // A daemon may be starting: it listens before it lets go of the lock, so under the lock either
            // this second try reaches it, or it will find the entry.
            let locked = spool.lock(left(deadline)).map_err(|error| unspooled(&error))?;
            match ask(deadline) {
                Err(NoReply::Away(_) | NoReply::Closed | NoReply::Late) => {
                    locked.put(&del, now_ms()).map_err(|error| unspooled(&error))?;
                    return Ok(Answer::Silent);
                }
                reply => reply,
            }
        }
        Err(NoReply::Late) => {
            let locked = spool.lock(left(deadline)).map_err(|error| unspooled(&error))?;
            locked.put(&del, now_ms()).map_err(|error| unspooled(&error))?;
            return Ok(Answer::Silent);
        }
        reply => reply,
    };
    done(reply.map_err(|error| error.to_error(&config.socket))?, Verb::Del, &config.socket)
}

fn gc(trace: Option<String>, config: &NetConfig) -> Result<Answer, CniError> {
    let deadline = Instant::now() + config.timeout;
    let request = Request::Gc(Gc {
        network: config.name.clone(),
        valid: config.valid.clone(),
        timeout_ms: told(config.timeout),
        trace,
    });
    let reply = daemon::ask(&config.socket, &request, None, deadline);
    done(reply.map_err(|error| error.to_error(&config.socket))?, Verb::Gc, &config.socket)
}

/// Whatever keeps the daemon from saying that an ADD can be served keeps it from serving one.
fn status(config: &NetConfig) -> Result<Answer, CniError> {
    let unavailable = |error: CniError| CniError { code: Code::Unavailable.number(), ..error };
    let reply = daemon::ask(&config.socket, &Request::Ready, None, Instant::now() + config.timeout);
    let reply = reply.map_err(|error| unavailable(error.to_error(&config.socket)))?;
    // What the daemon says itself has its code already.
    let by_the_daemon = matches!(reply, Reply::Failed(_));
    done(reply, Verb::Status, &config.socket)
        .map_err(|error| if by_the_daemon { error } else { unavailable(error) })
}

/// Success, if that is what the daemon says.
fn done(reply: Reply, verb: Verb, socket: &Path) -> Result<Answer, CniError> {
    match reply {
        Reply::Done => Ok(Answer::Silent),
        Reply::Failed(failed) => Err(failed.into()),
        other @ (Reply::Added(_)
        | Reply::AddedInterfaces(_)
        | Reply::Checked
        | Reply::Hello { .. }
        | Reply::Report(_)) => Err(misplaced(&other, verb, socket)),
    }
}

fn misplaced(reply: &Reply, verb: Verb, socket: &Path) -> CniError {
    let kind = match reply {
        Reply::Added(_) => "added",
        Reply::AddedInterfaces(_) => Reply::ADDED_INTERFACES,
        Reply::Checked => "checked",
        Reply::Done => "done",
        Reply::Failed(_) => "failed",
        Reply::Hello { .. } => "hello",
        Reply::Report(_) => "report",
    };
    NoReply::Garbled(format!("`{kind}` does not answer {verb}")).to_error(socket)
}

fn unspooled(error: &SpoolError) -> CniError {
    let reason = match error {
        SpoolError::Full { .. } => Reason::SpoolFull,
        SpoolError::Locked { .. } => Reason::SpoolLocked,
        SpoolError::TooLarge { .. } | SpoolError::Io { .. } => Reason::SpoolUnusable,
    };
    CniError::because(reason, format!("the daemon is away, and keeping the DEL for it failed: {error}"))
}

/// What of `timeout` is kept back from the daemon.
fn grace(timeout: Duration) -> Duration {
    GRACE.min(timeout / 4)
}

fn told(timeout: Duration) -> u64 {
    u64::try_from((timeout - grace(timeout)).as_millis()).unwrap_or(u64::MAX)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
