//! What a successful ADD prints (spec 1.1.0, "ADD Success"), in the version that was asked for.

use serde_json::{Map, Value, json};

use super::config::Previous;
use super::version::CniVersion;
use crate::message::Added;

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

/// The document for stdout: both ends of the pair, the address, and the two routes in the pod.
pub fn document(added: &Added, call: Answering<'_>) -> Value {
    let mut result = call.previous.map(|previous| previous.0.clone()).unwrap_or_default();
    result.insert("cniVersion".to_owned(), Value::from(call.version.as_str()));
    if let Some(dns) = call.dns {
        result.insert("dns".to_owned(), dns.clone());
    }

    let interfaces = entries(&mut result, "interfaces");
    interfaces.push(interface(call, &added.host_veth, &added.host_mac, added.mtu));
    let index = interfaces.len();
    let mut pod_end = interface(call, call.ifname, &added.pod_mac, added.mtu);
    pod_end["sandbox"] = Value::from(call.netns);
    interfaces.push(pod_end);

    let mut ip = json!({
        "address": format!("{}/32", added.address),
        "gateway": added.gateway.to_string(),
        "interface": index,
    });
    if call.version < CniVersion::V1_0_0 {
        ip["version"] = Value::from("4");
    }
    entries(&mut result, "ips").push(ip);

    let mut to_gateway = json!({ "dst": format!("{}/32", added.gateway) });
    if call.version >= CniVersion::V1_1_0 {
        to_gateway["scope"] = Value::from(SCOPE_LINK);
    }
    let routes = entries(&mut result, "routes");
    routes.push(to_gateway);
    routes.push(json!({ "dst": "0.0.0.0/0", "gw": added.gateway.to_string() }));
    Value::Object(result)
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
    use std::net::Ipv4Addr;

    use super::*;

    fn added() -> Added {
        Added {
            address: Ipv4Addr::new(10, 0, 1, 7),
            gateway: Ipv4Addr::new(169, 254, 1, 1),
            host_veth: "enicc21c2d7785".to_owned(),
            host_mac: "02:00:00:00:00:01".to_owned(),
            pod_mac: "02:00:00:00:00:02".to_owned(),
            mtu: 9001,
        }
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
    fn check_finds_the_address_in_every_version_of_the_result() {
        for version in CniVersion::ALL {
            let Value::Object(result) = document(&added(), call(version)) else { panic!("not an object") };
            assert_eq!(Previous(result).addresses_on("eth0"), [Ipv4Addr::new(10, 0, 1, 7)]);
        }
    }
}
