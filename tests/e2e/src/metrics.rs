//! What a node's daemon shows over HTTP, and a Prometheus on the node that reads it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use enid_vpc_lab::namespace::NetNs;
use serde_json::Value;

use crate::node::Node;
use crate::patience::wait_for;
use crate::program::enid;

/// Where the daemon serves metrics unless its settings say otherwise.
pub const PORT: u16 = 61678;
/// Where the node's Prometheus listens.
const PROMETHEUS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9390);
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long Prometheus may take to start, and to have scraped.
const SCRAPED: Duration = Duration::from_secs(60);

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The header of that name, or nothing.
    pub content_type: String,
    /// The text.
    pub body: String,
}

/// A page at an address as seen from a namespace.
pub fn fetch(namespace: &NetNs, address: SocketAddr, path: &str, accept: &str) -> Result<Page, String> {
    namespace.inside(|| get(address, path, accept).map_err(|why| why.to_string())).unwrap()
}

fn get(address: SocketAddr, path: &str, accept: &str) -> std::io::Result<Page> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let invalid = || std::io::Error::other(format!("no HTTP answer: {text}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(invalid)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(invalid)?;
    let header = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-type").then(|| value.to_owned())
    });
    Ok(Page { status, content_type: header.unwrap_or_default(), body: body.to_owned() })
}

impl Node {
    /// A page of its daemon's, at the usual port.
    pub fn try_page(&self, path: &str) -> Result<Page, String> {
        fetch(self.namespace(), (Ipv4Addr::LOCALHOST, PORT).into(), path, "*/*")
    }

    /// The same, when it must be there.
    #[track_caller]
    pub fn page(&self, path: &str) -> Page {
        self.try_page(path).unwrap()
    }

    /// Its metrics.
    #[track_caller]
    pub fn metrics(&self) -> Samples {
        let page = self.page("/metrics");
        assert_eq!(page.status, 200, "{page:?}");
        Samples::of(&page.body)
    }
}

/// Samples by name and labels, the labels in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    fn of(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (in_order(sample), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// The value of one, like `enid_addresses{state="free"}`; `None` when it is not there.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.0.get(&in_order(sample)).copied()
    }

    /// The same, which must be there.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        self.get(sample).unwrap_or_else(|| panic!("no {sample} in {:#?}", self.0))
    }

    /// Everything that is there under a name, whatever the labels.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let is_it = move |sample: &str| sample.split('{').next() == Some(name);
        self.0
            .iter()
            .filter(move |(sample, _)| is_it(sample))
            .map(|(sample, value)| (sample.as_str(), *value))
    }
}

fn in_order(sample: &str) -> String {
    let Some((name, labels)) = sample.trim_end_matches('}').split_once('{') else { return sample.to_owned() };
    let mut labels: Vec<&str> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// A Prometheus that scrapes one node every second, from inside the node.
#[derive(Debug)]
pub struct Prometheus {
    namespace: NetNs,
    child: Child,
}

impl Prometheus {
    /// Starts it with these rules, its files under `directory`, and waits until it has scraped twice.
    #[track_caller]
    pub fn of(node: &Node, directory: &Path, rules: &Path) -> Self {
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n\
             rule_files: [{rules:?}]\n\
             scrape_configs:\n  - job_name: enid\n    static_configs:\n      - targets: ['127.0.0.1:{PORT}']\n"
        );
        fs::write(&config, text).unwrap();
        let log = File::create(directory.join("prometheus.log")).unwrap();
        let mut command = Command::new(enid());
        command.args(["lab", "enter", node.namespace().name(), "--", "prometheus"]);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("tsdb").display()));
        command.arg(format!("--web.listen-address={PROMETHEUS}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let prometheus = Self { namespace: node.namespace().clone(), child: command.spawn().unwrap() };
        wait_for("Prometheus has scraped the node twice", SCRAPED, || {
            let scrapes = prometheus.query("count_over_time(up{job=\"enid\"}[1h]) and up == 1")?;
            let count = scrapes.first().and_then(|one| one["value"][1].as_str()?.parse::<f64>().ok());
            if count >= Some(2.0) { Ok(()) } else { Err(format!("{scrapes:?}")) }
        });
        prometheus
    }

    /// What a query evaluates to now.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let words: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let document = self.ask(&format!("/api/v1/query?query={words}"))?;
        document["data"]["result"].as_array().cloned().ok_or_else(|| document.to_string())
    }

    /// Its rules, each with how its last evaluation went.
    #[track_caller]
    pub fn rules(&self) -> Vec<Value> {
        let document = self.ask("/api/v1/rules").unwrap();
        let groups = document["data"]["groups"].as_array().unwrap().clone();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    fn ask(&self, path: &str) -> Result<Value, String> {
        let page = fetch(&self.namespace, PROMETHEUS.into(), path, "application/json")?;
        let document: Value = serde_json::from_str(&page.body).map_err(|why| format!("{why}: {page:?}"))?;
        if document["status"] == "success" { Ok(document) } else { Err(document.to_string()) }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended_meanwhile = self.child.kill();
        let _ended_meanwhile = self.child.wait();
    }
}
