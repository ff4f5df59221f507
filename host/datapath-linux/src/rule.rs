//! Policy rules: which table a packet's addresses or mark lead to.

use std::net::IpAddr;

use enid_core::wiring::{
    EniWiring, MAIN_TABLE, RULE_FROM_ENI, RULE_FROM_POD, RULE_MARK, RULE_TO_POD, RULE_TO_SERVICE,
};
use enid_engine::ports::DatapathError;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use rustix::io::Errno;

use crate::family::Family;
use crate::netlink::{Netlink, Request};

/// Inside a pod, before its main table: traffic from a further interface's address leaves by that interface.
const RULE_INSIDE_POD: u32 = 1;

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Selector {
    To(IpNet),
    From(IpNet),
    /// These bits, all of them set.
    Mark(Family, u32),
}

impl Selector {
    fn family(self) -> Family {
        match self {
            Selector::To(net) | Selector::From(net) => Family::of(net.addr()),
            Selector::Mark(family, _) => family,
        }
    }
}

/// A rule of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) selector: Selector,
    pub(crate) table: u32,
    pub(crate) priority: u32,
}

impl Rule {
    /// Traffic to the pod finds its host route before any other rule is asked.
    pub(crate) fn to_pod(address: IpAddr) -> Self {
        Self { selector: Selector::To(address.into()), table: MAIN_TABLE, priority: RULE_TO_POD }
    }

    /// Traffic from the pod leaves by the ENI that owns its address; the primary ENI needs no rule for it.
    pub(crate) fn from_pod(address: IpAddr, table: u32) -> Option<Self> {
        let rule = Self { selector: Selector::From(address.into()), table, priority: RULE_FROM_POD };
        (table != MAIN_TABLE).then_some(rule)
    }

    /// In the pod, traffic from the address of interface `index` leaves by that interface; the first one
    /// needs no rule for it.
    pub(crate) fn inside_pod(address: IpAddr, index: usize) -> Option<Self> {
        let table = u32::try_from(index).ok().filter(|index| *index > 0)?;
        Some(Self { selector: Selector::From(address.into()), table, priority: RULE_INSIDE_POD })
    }

    /// Traffic from a secondary ENI's own address leaves by that ENI.
    pub(crate) fn from_eni(eni: &EniWiring) -> Self {
        let selector = Selector::From(Ipv4Net::from(eni.address).into());
        Self { selector, table: eni.seat.table(), priority: RULE_FROM_ENI }
    }

    /// Traffic marked with this bit leaves by the primary ENI.
    pub(crate) fn mark(family: Family, bit: u32) -> Self {
        Self { selector: Selector::Mark(family, bit), table: MAIN_TABLE, priority: RULE_MARK }
    }

    /// Traffic to an external service leaves by the primary ENI.
    pub(crate) fn to_service(range: Ipv4Net) -> Self {
        let selector = Selector::To(range.trunc().into());
        Self { selector, table: MAIN_TABLE, priority: RULE_TO_SERVICE }
    }

    /// Whether it is of a kind that belongs to the node as a whole: one of those that stands without being
    /// wanted is from earlier settings.
    pub(crate) fn is_node_wide(&self) -> bool {
        let kind = match self.selector {
            Selector::Mark(..) => self.priority == RULE_MARK,
            Selector::To(_) => self.priority == RULE_TO_SERVICE,
            Selector::From(_) => false,
        };
        kind && self.table == MAIN_TABLE
    }

    /// The address of the pod that it is about, if it is one of a pod's rules.
    pub(crate) fn pod(&self) -> Option<IpAddr> {
        let net = match (self.selector, self.priority) {
            (Selector::To(net), RULE_TO_POD) if self.table == MAIN_TABLE => net,
            (Selector::From(net), RULE_FROM_POD) => net,
            (Selector::To(_) | Selector::From(_) | Selector::Mark(..), _) => return None,
        };
        (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
    }

    fn parse(payload: &[u8]) -> Result<Option<Self>, String> {
        let message = RuleMessage::parse(payload).map_err(|error| error.to_string())?;
        let Some(family) = Family::in_message(message.header.family) else { return Ok(None) };
        // One that looks at something else, too, or that does something else, is not ours.
        let lookup = message.header.action == RuleAction::ToTable && message.header.tos == 0;
        if !lookup || message.attributes.iter().any(narrows) {
            return Ok(None);
        }
        let mut table = u32::from(message.header.table);
        let (mut to, mut from, mut mark, mut mask, mut priority) = (None, None, None, None, 0);
        for attribute in message.attributes {
            if let RuleAttribute::Destination(address) = attribute {
                to = Some(address);
            } else if let RuleAttribute::Source(address) = attribute {
                from = Some(address);
            } else if let RuleAttribute::FwMark(bits) = attribute {
                mark = Some(bits);
            } else if let RuleAttribute::FwMask(bits) = attribute {
                mask = Some(bits);
            } else if let RuleAttribute::Priority(number) = attribute {
                priority = number;
            } else if let RuleAttribute::Table(number) = attribute {
                table = number;
            }
        }
        let net = |address, length| IpNet::new(address, length).map_err(|error| error.to_string());
        let RuleHeader { dst_len, src_len, .. } = message.header;
        let selector = match (to, from, mark) {
            (Some(to), None, None) => Selector::To(net(to, dst_len)?),
            (None, Some(from), None) => Selector::From(net(from, src_len)?),
            (None, None, Some(bits)) if mask == Some(bits) => Selector::Mark(family, bits),
            // To every IPv4 address: the kernel does not keep a range without length.
            (None, None, None) if family == Family::Ipv4 && priority == RULE_TO_SERVICE => {
                Selector::To(Ipv4Net::default().into())
            }
            (_, _, _) => return Ok(None),
        };
        Ok(Some(Self { selector, table, priority }))
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = self.selector.family().in_messages();
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        message.attributes = vec![RuleAttribute::Priority(self.priority), RuleAttribute::Table(self.table)];
        match self.selector {
            Selector::To(net) => {
                message.header.dst_len = net.prefix_len();
                message.attributes.push(RuleAttribute::Destination(net.addr()));
            }
            Selector::From(net) => {
                message.header.src_len = net.prefix_len();
                message.attributes.push(RuleAttribute::Source(net.addr()));
            }
            Selector::Mark(_, bits) => {
                message.attributes.extend([RuleAttribute::FwMark(bits), RuleAttribute::FwMask(bits)]);
            }
        }
        message
    }
}

/// Whether a rule with this attribute looks at something in packets that ours do not look at.
fn narrows(attribute: &RuleAttribute) -> bool {
    !matches!(
        attribute,
        RuleAttribute::Destination(_)
            | RuleAttribute::Source(_)
            | RuleAttribute::FwMark(_)
            | RuleAttribute::FwMask(_)
            | RuleAttribute::Priority(_)
            | RuleAttribute::Table(_)
            | RuleAttribute::Protocol(_)
            | RuleAttribute::SuppressPrefixLen(u32::MAX)
    )
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.selector {
            Selector::To(net) => write!(f, "to {}", Range(net))?,
            Selector::From(net) => write!(f, "from {}", Range(net))?,
            Selector::Mark(Family::Ipv4, bits) => write!(f, "fwmark {bits:#x}/{bits:#x}")?,
            Selector::Mark(Family::Ipv6, bits) => write!(f, "IPv6 fwmark {bits:#x}/{bits:#x}")?,
        }
        match self.table {
            MAIN_TABLE => f.write_str(" lookup main")?,
            table => write!(f, " lookup {table}")?,
        }
        write!(f, " ({})", self.priority)
    }
}

/// A range in the words of `ip rule`: a single address has no length.
struct Range(IpNet);

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            return write!(f, "{}", self.0.addr());
        }
        write!(f, "{}", self.0)
    }
}

/// Adds a rule; the same rule being there already is tolerated.
pub(crate) fn add(rule: &Rule) -> Request {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request::new(format!("add rule {rule}"), RouteNetlinkMessage::NewRule(rule.message()), flags)
        .tolerating(&[Errno::EXIST])
}

/// Removes a rule; absence is tolerated.
///
/// For a rule to every address the kernel takes the first one with that priority and table. It adds such a rule
/// only where it is the first, so long as nobody else has rules for certain links there.
pub(crate) fn delete(rule: &Rule) -> Request {
    Request::new(format!("delete rule {rule}"), RouteNetlinkMessage::DelRule(rule.message()), 0)
        .tolerating(&[Errno::NOENT])
}

/// Removes a rule that sends the pod's traffic to whatever table; absence is tolerated.
///
/// A rule that outlived an earlier owner of the address would come first, and send the traffic to an ENI
/// that does not own the address any more.
pub(crate) fn delete_from_pod(address: IpAddr) -> Request {
    let rule = Rule { selector: Selector::From(address.into()), table: 0, priority: RULE_FROM_POD };
    let mut message = rule.message();
    message.header.action = RuleAction::Unspec;
    message.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Table(_)));
    let attempt = format!("delete the rule from {address} ({RULE_FROM_POD})");
    Request::new(attempt, RouteNetlinkMessage::DelRule(message), 0).tolerating(&[Errno::NOENT])
}

/// All rules of a family that could be ours. Never on a pod's path, but seen while pods come and go.
pub(crate) fn survey(netlink: &mut Netlink, family: Family) -> Result<Vec<Rule>, DatapathError> {
    let mut message = RuleMessage::default();
    message.header.family = family.in_messages();
    let request = Request::new("list the rules", RouteNetlinkMessage::GetRule(message), 0);
    netlink.survey(&request, Rule::parse)
}
