//! What a successful ADD prints (spec 1.1.0, "ADD Success"), in the version that was asked for.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::config::Previous;
use super::version::CniVersion;
use crate::message::{Added, Interface};

/// `RT_SCOPE_LINK`, for the route to the gateway.
const SCOPE_LINK: u32 = 253;

/// The call that a result answers.
#[derive(Clone, Copy, Debug)]
pub struct Answering<'a> {
    /// The version asked for.
    pub version: CniVersion,
    /// `CNI_IFNAME`.
    pub ifname: &'a str,
    /// `CNI_NETNS`.
    pub netns: &'a str,
    /// The configuration's `dns`.
    pub dns: Option<&'a Value>,
    /// The plugins before this one; nothing of theirs is dropped.
    pub previous: Option<&'a Previous>,
}

/// The document for stdout: both ends of every pair, the addresses, and the routes in the pod.
pub fn document(added: &Added, call: Answering<'_>) -> Value {
    let mut result = call.previous.map(|previous| previous.0.clone()).unwrap_or_default();
    result.insert("cniVersion".to_owned(), Value::from(call.version.as_str()));
    if let Some(dns) = call.dns {
        result.insert("dns".to_owned(), dns.clone());
    }
    describe(&mut result, call, call.ifname, &added.first);
    routes(&mut result, call, None, &added.first.gateways);
    for further in &added.further {
        describe(&mut result, call, &further.ifname, &further.interface);
        // Before 1.1.0 a route has no table: these would read as routes that every connection of the pod may take.
        if call.version >= CniVersion::V1_1_0 {
            routes(&mut result, call, Some(further.table), &further.interface.gateways);
        }
    }
    Value::Object(result)
}

/// Adds a pair and its addresses.
fn describe(result: &mut Map<String, Value>, call: Answering<'_>, ifname: &str, pair: &Interface) {
    let interfaces = entries(result, "interfaces");
    interfaces.push(interface(call, &pair.host_veth, &pair.host_mac, pair.mtu));
    let index = interfaces.len();
    let mut pod_end = interface(call, ifname, &pair.pod_mac, pair.mtu);
    pod_end["sandbox"] = Value::from(call.netns);
    interfaces.push(pod_end);

    let ips = entries(result, "ips");
    for own in &pair.addresses {
        let mut ip = json!({ "address": format!("{}/{}", own.address, own.prefix), "interface": index });
        if let Some(gateway) = pair.gateway_of(own.address) {
            ip["gateway"] = Value::from(gateway.to_string());
        }
        if call.version < CniVersion::V1_0_0 {
            ip["version"] = Value::from(if own.address.is_ipv4() { "4" } else { "6" });
        }
        ips.push(ip);
    }
}

/// Adds the routes through `gateways`: also through that of a family of which the pod has no address to report,
/// because the routes are there all the same.
fn routes(result: &mut Map<String, Value>, call: Answering<'_>, table: Option<u32>, gateways: &[IpAddr]) {
    let routes = entries(result, "routes");
    for gateway in gateways {
        let (alone, everywhere) = match gateway {
            IpAddr::V4(gateway) => (format!("{gateway}/32"), "0.0.0.0/0"),
            IpAddr::V6(gateway) => (format!("{gateway}/128"), "::/0"),
        };
        let mut to_gateway = json!({ "dst": alone });
        // The kernel keeps no scope of an IPv6 route.
        if call.version >= CniVersion::V1_1_0 && gateway.is_ipv4() {
            to_gateway["scope"] = Value::from(SCOPE_LINK);
        }
        let default = json!({ "dst": everywhere, "gw": gateway.to_string() });
        for mut route in [to_gateway, default] {
            if let Some(table) = table {
                route["table"] = Value::from(table);
            }
            routes.push(route);
        }
    }
}

fn interface(call: Answering<'_>, name: &str, mac: &str, mtu: u32) -> Value {
    let mut interface = json!({ "name": name, "mac": mac });
    if call.version >= CniVersion::V1_1_0 {
        interface["mtu"] = Value::from(mtu);
    }
    interface
}

/// The list under `key`, made when it is absent or null. `NetConfig` admits nothing but lists here.
fn entries<'a>(result: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let value = result.entry(key).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("invariant: the line above made it a list")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{AddedIpv4, Address, Further};

    fn added() -> Added {
        let ipv4 = AddedIpv4 {
            address: [10, 0, 1, 7].into(),
            gateway: [169, 254, 1, 1].into(),
            host_veth: "enicc21c2d7785".to_owned(),
            host_mac: "02:00:00:00:00:01".to_owned(),
            pod_mac: "02:00:00:00:00:02".to_owned(),
            mtu: 9001,
        };
        ipv4.into()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ipv6() -> Added {
        let mut added = added();
        added.first.addresses = vec![Address::alone(ip("2001:db8::7"))];
        added.first.gateways = vec![ip("fe80::1")];
        added
    }

    fn dual_stack() -> Added {
        let mut added = added();
        added.first.addresses.extend(ipv6().first.addresses);
        added.first.gateways.extend(ipv6().first.gateways);
        added
    }

    /// An IPv6 pod that reaches IPv4 from an address of the node's own.
    fn with_egress() -> Added {
        let mut added = ipv6();
        added.first.gateways.push(ip("169.254.1.1"));
        added
    }

    fn two_cards() -> Added {
        let mut added = added();
        let interface = Interface {
            addresses: vec![Address::alone(ip("10.0.2.9"))],
            gateways: vec![ip("169.254.1.2")],
            host_veth: "eni0123456789a".to_owned(),
            host_mac: "02:00:00:00:00:03".to_owned(),
            pod_mac: "02:00:00:00:00:04".to_owned(),
            mtu: 1500,
        };
        added.further.push(Further { ifname: "mNicIf1".to_owned(), table: 1, interface });
        added
    }

    fn call(version: CniVersion) -> Answering<'static> {
        Answering { version, ifname: "eth0", netns: "/var/run/netns/p", dns: None, previous: None }
    }

    #[test]
    fn each_version_has_its_own_form() {
        for (version, golden) in [
            (
                CniVersion::V0_3_1,
                r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
            ),
            (
                CniVersion::V0_4_0,
                r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
            ),
            (
                CniVersion::V1_0_0,
                r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
            ),
            (
                CniVersion::V1_1_0,
                r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
            ),
        ] {
            assert_eq!(document(&added(), call(version)).to_string(), golden);
        }
    }

    /// Golden results: what the pod has, and how each version says it.
    fn golden(added: &Added, results: [&str; 4]) {
        for (version, golden) in CniVersion::ALL.into_iter().zip(results) {
            assert_eq!(document(added, call(version)).to_string(), golden);
        }
    }

    #[test]
    fn an_ipv6_pod_in_each_version() {
        golden(
            &ipv6(),
            [
                r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
                r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
                r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
                r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
            ],
        );
    }

    #[test]
    fn a_dual_stack_pod_in_each_version() {
        golden(
            &dual_stack(),
            [
                r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
                r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
                r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
                r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
            ],
        );
    }

    #[test]
    fn a_pod_on_two_cards_in_each_version() {
        golden(
            &two_cards(),
            [
                r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"},{"mac":"02:00:00:00:00:03","name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","name":"mNicIf1","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
                r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"},{"mac":"02:00:00:00:00:03","name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","name":"mNicIf1","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
                r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/var/run/netns/p"},{"mac":"02:00:00:00:00:03","name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","name":"mNicIf1","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
                r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/var/run/netns/p"},{"mac":"02:00:00:00:00:03","mtu":1500,"name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","mtu":1500,"name":"mNicIf1","sandbox":"/var/run/netns/p"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"169.254.1.2/32","scope":253,"table":1},{"dst":"0.0.0.0/0","gw":"169.254.1.2","table":1}]}"#,
            ],
        );
    }

    #[test]
    fn a_route_out_is_told_without_an_address_that_nobody_can_reach() {
        for version in CniVersion::ALL {
            let result = document(&with_egress(), call(version));
            let addresses: Vec<_> =
                result["ips"].as_array().unwrap().iter().map(|ip| &ip["address"]).collect();
            assert_eq!(addresses, ["2001:db8::7/128"]);
            let routes: Vec<_> =
                result["routes"].as_array().unwrap().iter().map(|route| &route["dst"]).collect();
            assert_eq!(routes, ["fe80::1/128", "::/0", "169.254.1.1/32", "0.0.0.0/0"]);
        }
    }

    #[test]
    fn earlier_plugins_keep_all_they_said() {
        let earlier = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{ "name": "br0", "pciID": "x" }],
            "ips": null,
            "routes": [{ "dst": "10.9.0.0/16" }],
            "dns": { "domain": "old" },
            "custom": 1,
        });
        let Value::Object(earlier) = earlier else { panic!("not an object") };
        let (previous, dns) = (Previous(earlier), json!({ "nameservers": ["10.0.0.2"] }));
        let call = Answering { dns: Some(&dns), previous: Some(&previous), ..call(CniVersion::V1_0_0) };
        let result = document(&added(), call);
        assert_eq!(result["interfaces"][0], json!({ "name": "br0", "pciID": "x" }));
        assert_eq!(result["ips"][0]["interface"], 2);
        assert_eq!(result["interfaces"][2]["name"], "eth0");
        assert_eq!(result["routes"].as_array().map(Vec::len), Some(3));
        assert_eq!((&result["dns"], &result["custom"]), (&dns, &json!(1)));
    }

    #[test]
    fn an_earlier_plugin_s_ipv6_stays_and_moves_no_index() {
        let earlier = json!({
            "interfaces": [{ "name": "lo", "sandbox": "/var/run/netns/p" }],
            "ips": [{ "address": "::1/128", "interface": 0, "version": "6" }],
            "routes": [{ "dst": "2001:db8:9::/48", "gw": "fe80::9" }],
        });
        let Value::Object(object) = earlier.clone() else { panic!("not an object") };
        let previous = Previous(object);
        let call = Answering { previous: Some(&previous), ..call(CniVersion::V0_4_0) };
        let result = document(&dual_stack(), call);
        assert_eq!((&result["ips"][0], &result["routes"][0]), (&earlier["ips"][0], &earlier["routes"][0]));
        assert_eq!((&result["ips"][1]["interface"], &result["ips"][2]["interface"]), (&json!(2), &json!(2)));
        let Value::Object(result) = result else { panic!("not an object") };
        assert_eq!(Previous(result).addresses_of("eth0"), [ip("10.0.1.7"), ip("2001:db8::7")]);
    }

    #[test]
    fn check_finds_the_addresses_in_every_version_of_the_result() {
        for version in CniVersion::ALL {
            for (added, addresses) in [
                (added(), vec![ip("10.0.1.7")]),
                (with_egress(), vec![ip("2001:db8::7")]),
                (dual_stack(), vec![ip("10.0.1.7"), ip("2001:db8::7")]),
                (two_cards(), vec![ip("10.0.1.7"), ip("10.0.2.9")]),
            ] {
                let Value::Object(result) = document(&added, call(version)) else { panic!("not an object") };
                assert_eq!(Previous(result).addresses_of("eth0"), addresses);
            }
        }
    }
}
