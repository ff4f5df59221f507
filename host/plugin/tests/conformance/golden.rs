//! Golden results per spec version: C24, C43 as far as it needs no other reader.

use enid_protocol::message::{Added, Address, Reply};
use serde_json::{Value, json};

use crate::stage::{Act, Runtime, Stage, added, added_two_cards};

const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

const V4: [&str; 4] = [
    r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
    r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
    r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
    r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#,
];

const V6: [&str; 4] = [
    r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1}],"routes":[{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
];

const TWO_CARDS: [&str; 4] = [
    r#"{"cniVersion":"0.3.1","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"},{"mac":"02:00:00:00:00:03","name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","name":"mNicIf1","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    r#"{"cniVersion":"0.4.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"},{"mac":"02:00:00:00:00:03","name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","name":"mNicIf1","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1,"version":"4"},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1,"version":"6"},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3,"version":"4"}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    r#"{"cniVersion":"1.0.0","interfaces":[{"mac":"02:00:00:00:00:01","name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","name":"eth0","sandbox":"/proc/self/ns/net"},{"mac":"02:00:00:00:00:03","name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","name":"mNicIf1","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3}],"routes":[{"dst":"169.254.1.1/32"},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"}]}"#,
    r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":9001,"name":"enicc21c2d7785"},{"mac":"02:00:00:00:00:02","mtu":9001,"name":"eth0","sandbox":"/proc/self/ns/net"},{"mac":"02:00:00:00:00:03","mtu":1500,"name":"eni0123456789a"},{"mac":"02:00:00:00:00:04","mtu":1500,"name":"mNicIf1","sandbox":"/proc/self/ns/net"}],"ips":[{"address":"10.0.1.7/32","gateway":"169.254.1.1","interface":1},{"address":"2001:db8::7/128","gateway":"fe80::1","interface":1},{"address":"10.0.2.9/32","gateway":"169.254.1.2","interface":3}],"routes":[{"dst":"169.254.1.1/32","scope":253},{"dst":"0.0.0.0/0","gw":"169.254.1.1"},{"dst":"fe80::1/128"},{"dst":"::/0","gw":"fe80::1"},{"dst":"169.254.1.2/32","scope":253,"table":1},{"dst":"0.0.0.0/0","gw":"169.254.1.2","table":1}]}"#,
];

fn ipv6() -> Added {
    let mut added = Added::from(added());
    added.first.addresses = vec![Address::alone("2001:db8::7".parse().unwrap())];
    added.first.gateways = vec!["fe80::1".parse().unwrap()];
    added
}

fn shapes() -> [(Reply, [&'static str; 4]); 3] {
    [(Reply::Added(added()), V4), (ipv6().into_reply(), V6), (added_two_cards().into_reply(), TWO_CARDS)]
}

#[test]
fn c24_each_version_has_its_own_form_of_the_result() {
    for (reply, results) in shapes() {
        let stage = Stage::new();
        let _daemon = stage.daemon(move |_| Act::Reply(reply.clone()));
        for (version, golden) in VERSIONS.into_iter().zip(results) {
            let outcome = Runtime::new("ADD").config(&stage.config(version, json!({}))).run();
            assert_eq!(outcome.succeeded(), golden);
        }
    }
}

/// The keys that each version's result type has, list by list; what an older version lacks is not in its results.
#[test]
fn c43_no_result_has_a_field_that_its_version_does_not_know() {
    let known = |version: &str, list: &str| -> Vec<&str> {
        let (ipv, newest) = (version < "1.0.0", version >= "1.1.0");
        let (base, further): (&[&str], &[&str]) = match list {
            "interfaces" => (&["name", "mac", "sandbox"], &["mtu", "socketPath", "pciID"]),
            "ips" => (
                if ipv {
                    &["version", "interface", "address", "gateway"]
                } else {
                    &["interface", "address", "gateway"]
                },
                &[],
            ),
            _ => (&["dst", "gw"], &["mtu", "advmss", "priority", "table", "scope"]),
        };
        base.iter().chain(if newest { further } else { &[] }).copied().collect()
    };
    for (_, results) in shapes() {
        for (version, golden) in VERSIONS.into_iter().zip(results) {
            let result: Value = serde_json::from_str(golden).unwrap();
            for (list, entries) in result.as_object().unwrap().iter().filter(|(key, _)| *key != "cniVersion")
            {
                for field in
                    entries.as_array().unwrap().iter().flat_map(|entry| entry.as_object().unwrap().keys())
                {
                    assert!(known(version, list).contains(&field.as_str()), "{version}: {list}.{field}");
                }
                if list == "ips" && version < "1.0.0" {
                    assert!(
                        entries.as_array().unwrap().iter().all(|ip| ip["version"].is_string()),
                        "{entries}"
                    );
                }
            }
        }
    }
}
