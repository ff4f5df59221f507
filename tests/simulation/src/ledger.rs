//! The journal as a reader who knows nothing else understands it: what would be left of the daemon's knowledge if it
//! died now. Written down a second time, apart from the daemon's own reader.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use enid_core::cloud::NewEni;
use enid_core::event::Record;
use enid_core::ids::{Attachment, EniId};
use enid_core::lease::Holder;
use enid_core::wiring::{PodWiring, Seat};
use ipnet::Ipv4Net;

/// What the journal says.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pods: BTreeMap<IpAddr, Entry>,
    creating: BTreeMap<String, (NewEni, Seat)>,
    enis: BTreeMap<EniId, Supplied>,
    returning: BTreeSet<Ipv4Addr>,
}

#[derive(Clone, Debug)]
struct Entry {
    holder: Holder,
    bound: bool,
}

#[derive(Clone, Debug, Default)]
struct Supplied {
    singles: Vec<Ipv4Addr>,
    blocks: Vec<Ipv4Net>,
}

impl Supplied {
    fn has(&self, address: &Ipv4Addr) -> bool {
        self.singles.contains(address) || self.blocks.iter().any(|block| block.contains(address))
    }
}

impl Ledger {
    /// What a whole journal says.
    pub fn of(records: &[Record]) -> Self {
        let mut ledger = Self::default();
        ledger.read(records);
        ledger
    }

    /// Reads on.
    pub fn read(&mut self, records: &[Record]) {
        records.iter().for_each(|record| self.read_one(record));
    }

    fn read_one(&mut self, record: &Record) {
        match record {
            Record::Identity { .. } | Record::Limits { .. } => {}
            Record::Creating { new, seat, .. } => {
                self.creating.insert(new.client_token.clone(), (new.clone(), *seat));
            }
            Record::NotCreated { token } => {
                self.creating.remove(token);
            }
            Record::Eni { eni, addresses, .. } => {
                self.creating.retain(|_, (_, seat)| *seat != eni.seat);
                let on = self.enis.entry(eni.id.clone()).or_default();
                self.returning.retain(|address| !on.has(address));
                on.singles.clone_from(addresses);
                self.forget_unknown();
            }
            Record::Delegated { eni, prefixes, .. } => {
                let on = self.enis.entry(eni.clone()).or_default();
                self.returning.retain(|address| !on.has(address));
                on.blocks.clone_from(prefixes);
                self.forget_unknown();
            }
            Record::Returning { addresses } => self.returning.extend(addresses),
            Record::EniGone { eni } => {
                self.enis.remove(eni);
                self.forget_unknown();
            }
            Record::Reserved { holder, .. } | Record::ReservedTogether { holder } => {
                let key = holder.wiring.key();
                if self.knows(key) {
                    self.pods.insert(key, Entry { holder: holder.clone(), bound: false });
                }
            }
            Record::Bound { address, .. } => {
                if let Some(entry) = self.pods.get_mut(address) {
                    entry.bound = true;
                }
            }
            Record::Released { address, .. } => {
                self.pods.remove(address);
            }
        }
    }

    /// IPv6 addresses begin with their pods.
    fn knows(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.enis.values().any(|eni| eni.has(&address)),
            IpAddr::V6(_) => true,
        }
    }

    fn forget_unknown(&mut self) {
        let gone: Vec<_> = self.pods.keys().copied().filter(|key| !self.knows(*key)).collect();
        for key in gone {
            self.pods.remove(&key);
        }
    }

    /// Whether it says that a pod is, or is about to be, wired so.
    pub fn names(&self, wiring: &PodWiring) -> bool {
        self.pods.get(&wiring.key()).is_some_and(|entry| entry.holder.wiring == *wiring)
    }

    /// Whether it says that an attachment's pod is wired.
    pub fn has_bound(&self, holder: &Holder) -> bool {
        let same = |noted: &Holder| noted.attachment == holder.attachment && noted.wiring == holder.wiring;
        self.pods.get(&holder.wiring.key()).is_some_and(|entry| entry.bound && same(&entry.holder))
    }

    /// Whether it says that an attachment has an address.
    pub fn has_attachment(&self, attachment: &Attachment) -> bool {
        self.pods.values().any(|entry| entry.holder.attachment == *attachment)
    }

    /// Whether it says that this ENI is about to be created.
    pub fn intends(&self, new: &NewEni) -> bool {
        self.creating.get(&new.client_token).is_some_and(|(intended, _)| intended == new)
    }

    /// ENIs that are about to be created, or may have been.
    pub fn creating(&self) -> usize {
        self.creating.len()
    }

    /// Whether it knows an ENI.
    pub fn has_eni(&self, eni: &EniId) -> bool {
        self.enis.contains_key(eni)
    }

    /// Whether it says that an address is on its way back to EC2.
    pub fn is_returning(&self, address: Ipv4Addr) -> bool {
        self.returning.contains(&address)
    }
}
