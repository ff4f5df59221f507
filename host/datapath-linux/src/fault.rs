//! A difference between the kernel and the wiring, together with what puts it right.
//!
//! A look, a check and a repair share these, so that whatever is reported as drift can be mended, and what is
//! mended is exactly what was missing.

use enid_core::event::{Drift, Part};
use enid_engine::ports::DatapathError;

use crate::link::{self, Link};
use crate::netlink::{Netlink, Request, failed};
use crate::sysctl::Setting;

/// After the second round something else takes away what is put right.
const ROUNDS: u32 = 2;

/// One difference.
pub(crate) struct Fault {
    /// In words for people.
    pub(crate) what: String,
    pub(crate) mend: Mend,
}

/// What puts a difference right.
pub(crate) enum Mend {
    /// These requests, in the namespace in which it was found.
    Requests(Vec<Request>),
    /// A setting of that namespace.
    Setting(Setting),
    /// The pod's pair has to be made anew.
    Pair,
    /// Nothing that the datapath could do: it is reported, and a repair fails.
    Beyond,
    /// Nothing need be done: it passes by itself, or it is the pod's own doing. A check tells the runtime, a look
    /// tells nobody.
    Nothing,
}

impl Mend {
    /// A single request.
    pub(crate) fn request(request: Request) -> Self {
        Mend::Requests(vec![request])
    }
}

impl Fault {
    /// Whether it is drift: something that should be put right.
    pub(crate) fn is_drift(&self) -> bool {
        match self.mend {
            Mend::Requests(_) | Mend::Setting(_) | Mend::Pair | Mend::Beyond => true,
            Mend::Nothing => false,
        }
    }

    /// The same in the engine's words.
    pub(crate) fn of(self, of: Part) -> Drift {
        Drift { of, what: self.what }
    }
}

/// Differences in the order in which they are mended: makes before it breaks.
#[derive(Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

impl Faults {
    pub(crate) fn add(&mut self, what: String, mend: Mend) {
        self.0.push(Fault { what, mend });
    }

    pub(crate) fn unless(&mut self, right: bool, fault: impl FnOnce() -> (String, Mend)) {
        if !right {
            let (what, mend) = fault();
            self.add(what, mend);
        }
    }

    /// A link that is there should be up, with this MTU.
    pub(crate) fn link(&mut self, link: &Link, mtu: u32) {
        let Link { name, .. } = link;
        let mend = || Mend::request(link::set_up_with_mtu(link, mtu));
        self.unless(link.up, || (format!("{name} is down"), mend()));
        self.unless(link.mtu == mtu, || (format!("{name} has MTU {}, not {mtu}", link.mtu), mend()));
    }

    /// A setting should have its value.
    pub(crate) fn setting(&mut self, setting: Setting) -> Result<(), DatapathError> {
        if let Some(value) = setting.other_value()? {
            self.add(format!("{setting} is {value}, not {}", setting.value()), Mend::Setting(setting));
        }
        Ok(())
    }
}

/// Mends what `find` finds, until it finds nothing: setting one thing right may take another away. What cannot be
/// mended does not keep the rest. Nothing is written when nothing is wrong.
pub(crate) fn mend_all(
    netlink: &mut Netlink,
    mut find: impl FnMut(&mut Netlink) -> Result<Vec<Fault>, DatapathError>,
) -> Result<(), DatapathError> {
    let mut refused = None;
    for round in 0..=ROUNDS {
        let mut faults = find(netlink)?;
        faults.retain(Fault::is_drift);
        if faults.is_empty() {
            break;
        }
        if round == ROUNDS {
            let left: Vec<String> = faults.into_iter().map(|fault| fault.what).collect();
            return Err(refused.unwrap_or_else(|| failed("mend the wiring", left.join("; "))));
        }
        refused = None;
        for fault in faults {
            if let Err(error) = mend(netlink, fault.mend) {
                refused.get_or_insert(error);
            }
        }
    }
    Ok(())
}

/// Puts right what can be put right where it was found.
fn mend(netlink: &mut Netlink, mend: Mend) -> Result<(), DatapathError> {
    match mend {
        Mend::Requests(requests) => netlink.apply_in_batches(requests),
        Mend::Setting(setting) => setting.write(),
        Mend::Pair | Mend::Beyond | Mend::Nothing => Ok(()),
    }
}
