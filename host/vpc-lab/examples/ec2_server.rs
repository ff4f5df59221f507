//! EC2 and instance metadata on loopback, without a network behind them: for clients in other languages.
//!
//! Builds a VPC with three subnets, the first with IPv6, and one m5.large in it, prints one JSON line with the addresses and ids, and
//! serves until its standard input ends. Environment: `ENID_EC2_LATENCY_MS` (default 0), `ENID_EC2_ATTACH_MS`
//! (attach, detach, launch and terminate; default 0), `ENID_EC2_METADATA_LAG_MS` (default 0) and
//! `ENID_EC2_FAULTS`, for example `CreateNetworkInterface=lost,AssignPrivateIpAddresses=RequestLimitExceeded*2`.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use enid_core::time::Timestamp;
use enid_sim::ec2::fault::{Fault, FaultKind};
use enid_sim::ec2::instance::RunInstances;
use enid_sim::ec2::{Config, Delays, Ec2, Tags};
use enid_vpc_lab::{imds, wire};
use serde_json::json;
use tokio::net::TcpListener;

const SEED: u64 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let attach = millis("ENID_EC2_ATTACH_MS")?;
    let delays = Delays {
        launch: attach,
        terminate: attach,
        attach,
        detach: attach,
        metadata: millis("ENID_EC2_METADATA_LAG_MS")?,
        latency: millis("ENID_EC2_LATENCY_MS")?,
        latencies: BTreeMap::new(),
    };
    let mut ec2 = Ec2::new(SEED, Config { delays, ..Config::default() });
    let vpc = ec2.add_vpc("10.0.0.0/16".parse()?)?;
    ec2.add_vpc_cidr(&vpc, "100.64.0.0/16".parse()?)?;
    let mut subnet = |zone: &str, cidr: &str, name: &str| -> anyhow::Result<_> {
        let tags = Tags::from([("Name".to_owned(), name.to_owned())]);
        Ok(ec2.add_subnet(&vpc, zone, cidr.parse()?, tags)?)
    };
    let wide = subnet("eu-central-1a", "10.0.1.0/24", "wide")?;
    let narrow = subnet("eu-central-1a", "10.0.2.0/28", "narrow")?;
    let elsewhere = subnet("eu-central-1b", "10.0.3.0/24", "elsewhere")?;
    ec2.add_ipv6_range(&vpc, "2001:db8:0:100::/56".parse()?)?;
    ec2.give_ipv6(&wide, "2001:db8:0:101::/64".parse()?)?;
    let group = ec2.add_security_group(&vpc, "pods")?;
    let launched = since_epoch()?;
    let instance = ec2.launch(launched, &RunInstances::one("m5.large", wide.clone()))?;
    for fault in
        std::env::var("ENID_EC2_FAULTS").unwrap_or_default().split(',').filter(|text| !text.is_empty())
    {
        ec2.inject(parse_fault(fault)?)?;
    }

    let ec2 = Arc::new(Mutex::new(ec2));
    let api = TcpListener::bind("127.0.0.1:0").await.context("listen for EC2 calls")?;
    let metadata = TcpListener::bind("127.0.0.1:0").await.context("listen for metadata requests")?;
    let ready = json!({
        "ec2": format!("http://{}", api.local_addr()?),
        "imds": format!("http://{}", metadata.local_addr()?),
        "vpc": vpc, "wide": wide, "narrow": narrow, "elsewhere": elsewhere, "group": group, "instance": instance,
    });
    println!("{ready}");
    let end = tokio::task::spawn_blocking(|| io::copy(&mut io::stdin().lock(), &mut io::sink()));
    tokio::select! {
        biased;
        ended = end => { ended?.context("wait for the end of standard input")?; }
        served = axum::serve(api, wire::router(Arc::clone(&ec2))) => served.context("serve EC2 calls")?,
        served = axum::serve(metadata, imds::router_for(ec2, instance)) => served.context("serve metadata")?,
    }
    Ok(())
}

fn millis(name: &str) -> anyhow::Result<Duration> {
    let text = std::env::var(name).unwrap_or_else(|_| "0".to_owned());
    Ok(Duration::from_millis(text.parse().with_context(|| format!("{name}: `{text}` is not a number"))?))
}

/// `Call=lost`, `Call=Code`, with `*N` for several times.
fn parse_fault(text: &str) -> anyhow::Result<Fault> {
    let Some((call, what)) = text.split_once('=') else { bail!("`{text}` is not `Call=fault`") };
    let (what, times) = what.split_once('*').unwrap_or((what, "1"));
    let kind = if what == "lost" { FaultKind::LostReply } else { FaultKind::Error(what.parse()?) };
    Ok(Fault { call: Some(call.parse()?), times: times.parse()?, kind })
}

fn since_epoch() -> anyhow::Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(u64::try_from(since.as_millis())?))
}
