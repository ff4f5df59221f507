//! Policy rules: which table a packet's addresses or mark lead to.

use std::net::{IpAddr, Ipv4Addr};

use enid_core::wiring::{
    EniWiring, MAIN_TABLE, MARK, PodWiring, RULE_FROM_ENI, RULE_FROM_POD, RULE_MARK, RULE_TO_POD,
};
use enid_engine::ports::DatapathError;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;

use crate::netlink::{Netlink, Request};

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    To(Ipv4Addr),
    From(Ipv4Addr),
    Mark,
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
    pub(crate) fn to_pod(pod: &PodWiring) -> Self {
        Self { selector: Selector::To(pod.address), table: MAIN_TABLE, priority: RULE_TO_POD }
    }

    /// Traffic from the pod leaves by the ENI that owns its address; the primary ENI needs no rule for it.
    pub(crate) fn from_pod(pod: &PodWiring) -> Option<Self> {
        let rule = Self { selector: Selector::From(pod.address), table: pod.table, priority: RULE_FROM_POD };
        (pod.table != MAIN_TABLE).then_some(rule)
    }

    /// Traffic from a secondary ENI's own address leaves by that ENI.
    pub(crate) fn from_eni(eni: &EniWiring) -> Self {
        Self { selector: Selector::From(eni.address), table: eni.seat.table(), priority: RULE_FROM_ENI }
    }

    /// Marked traffic leaves by the primary ENI.
    pub(crate) fn mark() -> Self {
        Self { selector: Selector::Mark, table: MAIN_TABLE, priority: RULE_MARK }
    }

    fn parse(payload: &[u8]) -> Result<Option<Self>, String> {
        let message = RuleMessage::parse(payload).map_err(|error| error.to_string())?;
        let mut table = u32::from(message.header.table);
        let (mut to, mut from, mut mark, mut mask, mut priority) = (None, None, None, None, 0);
        for attribute in message.attributes {
            if let RuleAttribute::Destination(IpAddr::V4(address)) = attribute {
                to = Some(address);
            } else if let RuleAttribute::Source(IpAddr::V4(address)) = attribute {
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
        let RuleHeader { dst_len, src_len, .. } = message.header;
        let selector = match (to, from, mark) {
            (Some(to), None, None) if dst_len == 32 => Selector::To(to),
            (None, Some(from), None) if src_len == 32 => Selector::From(from),
            (None, None, Some(MARK)) if mask == Some(MARK) => Selector::Mark,
            (_, _, _) => return Ok(None),
        };
        Ok(Some(Self { selector, table, priority }))
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::ToTable;
        message.header.table = u8::try_from(self.table).unwrap_or(0);
        message.attributes = vec![RuleAttribute::Priority(self.priority), RuleAttribute::Table(self.table)];
        match self.selector {
            Selector::To(address) => {
                message.header.dst_len = 32;
                message.attributes.push(RuleAttribute::Destination(address.into()));
            }
            Selector::From(address) => {
                message.header.src_len = 32;
                message.attributes.push(RuleAttribute::Source(address.into()));
            }
            Selector::Mark => {
                message.attributes.extend([RuleAttribute::FwMark(MARK), RuleAttribute::FwMask(MARK)]);
            }
        }
        message
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.selector {
            Selector::To(address) => write!(f, "to {address}")?,
            Selector::From(address) => write!(f, "from {address}")?,
            Selector::Mark => write!(f, "fwmark {MARK:#x}/{MARK:#x}")?,
        }
        match self.table {
            MAIN_TABLE => f.write_str(" lookup main")?,
            table => write!(f, " lookup {table}")?,
        }
        write!(f, " ({})", self.priority)
    }
}

/// Adds a rule; the same rule being there already is tolerated.
pub(crate) fn add(rule: &Rule) -> Request {
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request::new(format!("add rule {rule}"), RouteNetlinkMessage::NewRule(rule.message()), flags)
        .tolerating(&[Errno::EXIST])
}

/// Removes a rule; absence is tolerated.
pub(crate) fn delete(rule: &Rule) -> Request {
    Request::new(format!("delete rule {rule}"), RouteNetlinkMessage::DelRule(rule.message()), 0)
        .tolerating(&[Errno::NOENT])
}

/// Removes a rule that sends the pod's traffic to whatever table; absence is tolerated.
///
/// A rule that outlived an earlier owner of the address would come first, and send the traffic to an ENI
/// that does not own the address any more.
pub(crate) fn delete_from_pod(pod: &PodWiring) -> Request {
    let rule = Rule { selector: Selector::From(pod.address), table: 0, priority: RULE_FROM_POD };
    let mut message = rule.message();
    message.header.action = RuleAction::Unspec;
    message.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Table(_)));
    let attempt = format!("delete the rule from {} ({RULE_FROM_POD})", pod.address);
    Request::new(attempt, RouteNetlinkMessage::DelRule(message), 0).tolerating(&[Errno::NOENT])
}

/// All rules that could be ours. Never on a pod's path.
pub(crate) fn all(netlink: &mut Netlink) -> Result<Vec<Rule>, DatapathError> {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    let request = Request::new("list the rules", RouteNetlinkMessage::GetRule(message), 0);
    netlink.dump(&request, Rule::parse)
}
