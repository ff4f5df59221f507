//! A whole lab against a real kernel: endpoints inside the VPC, links that follow EC2, and its end.
//!
//! Needs root, iproute2 and nftables; without them these tests fail and say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot arrange its world fails")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use enid_vpc_lab::iproute::ip_query;
use enid_vpc_lab::lab::landscape::{EC2_ADDRESS, IMDS_ADDRESS};
use enid_vpc_lab::lab::status::Status;
use enid_vpc_lab::lab::{Lab, LabError, Removed};
use enid_vpc_lab::namespace::NetNs;
use enid_vpc_lab::waiting::wait_until;

const SOON: Duration = Duration::from_secs(10);

/// A lab whose process is a thread of this one. It takes itself away, also when a test fails.
struct Running {
    lab: Lab,
    base: PathBuf,
    server: Option<JoinHandle<Result<(), LabError>>>,
}

impl Running {
    fn up(test: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a lab makes network namespaces: run these tests as root"
        );
        let name = format!("lab-{}-{test}", std::process::id());
        let base = std::env::temp_dir().join(&name);
        let lab = Lab::named(&base, &name).unwrap();
        lab.down().unwrap();
        let serving = lab.clone();
        let server = std::thread::spawn(move || serving.serve());
        let running = Self { lab, base, server: Some(server) };
        wait_until(Instant::now() + SOON, || running.lab.status().ok()).expect("the lab answers");
        running
    }

    fn status(&self) -> Status {
        self.lab.status().unwrap()
    }

    fn node(&self) -> NetNs {
        self.status().nodes[0].namespace.clone()
    }

    /// One call to EC2 from the first node; the document that came back.
    fn call(&self, form: &str) -> String {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: {EC2_ADDRESS}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}&Version=2016-11-15",
            form.len() + "&Version=2016-11-15".len()
        );
        let answer = self.ask(SocketAddr::from((EC2_ADDRESS, 80)), &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{form}: {answer}");
        answer
    }

    fn ask(&self, to: SocketAddr, request: &str) -> String {
        let mut stream = self.node().inside(|| TcpStream::connect_timeout(&to, SOON)).unwrap().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn link(&self, name: &str) -> bool {
        ip_query(Some(&self.node()), &["link", "show", name]).is_ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lab.down().unwrap();
        if let Some(server) = self.server.take() {
            server.join().unwrap().unwrap();
        }
        std::fs::remove_dir_all(&self.base).unwrap();
    }
}

/// The text between the first `<tag>` and its end.
fn element<'d>(document: &'d str, tag: &str) -> &'d str {
    let (_, rest) =
        document.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("no <{tag}> in {document}"));
    rest.split_once(&format!("</{tag}>")).unwrap().0
}

#[test]
fn ec2_and_metadata_answer_inside_the_vpc() {
    let lab = Running::up("answer");
    assert!(lab.call("Action=DescribeSubnets").contains("10.0.3.0/26"));

    let imds = SocketAddr::from((IMDS_ADDRESS, 80));
    let put = "PUT /latest/api/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
               x-aws-ec2-metadata-token-ttl-seconds: 60\r\ncontent-length: 0\r\n\r\n";
    let answer = lab.ask(imds, put);
    let (_, token) = answer.split_once("\r\n\r\n").unwrap();
    let get = format!(
        "GET /latest/meta-data/local-ipv4 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-aws-ec2-metadata-token: {token}\r\n\r\n"
    );
    let node = &lab.status().nodes[0];
    assert!(lab.ask(imds, &get).ends_with(&node.address.to_string()));
}

#[test]
fn links_and_routes_follow_ec2() {
    let lab = Running::up("follow");
    let status = lab.status();
    let (node, subnet) = (&status.nodes[0], &status.subnets[0].id);
    let created = lab.call(&format!("Action=CreateNetworkInterface&SubnetId={subnet}"));
    let eni = element(&created, "networkInterfaceId").to_owned();
    let attached = lab.call(&format!(
        "Action=AttachNetworkInterface&NetworkInterfaceId={eni}&InstanceId={}&DeviceIndex=1",
        node.instance
    ));
    let attachment = element(&attached, "attachmentId").to_owned();
    assert!(!lab.link("eth1"), "attaching takes time");
    wait_until(Instant::now() + SOON, || lab.link("eth1").then_some(())).expect("the link appears");

    lab.call(&format!(
        "Action=AssignPrivateIpAddresses&NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=1"
    ));
    let status = lab.status();
    let address = status.enis.iter().find(|known| known.id.as_str() == eni).unwrap().addresses[0];
    let route = ip_query(Some(&status.vpc_namespace), &["route", "show", &format!("{address}/32")]).unwrap();
    assert!(
        route.contains("dev eni-"),
        "the answer to an assignment comes when its route is there: {route:?}"
    );

    lab.call(&format!("Action=DetachNetworkInterface&AttachmentId={attachment}"));
    assert!(lab.link("eth1"), "detaching takes time");
    wait_until(Instant::now() + SOON, || (!lab.link("eth1")).then_some(())).expect("the link leaves");
    assert_eq!(lab.status().diverged, Vec::<String>::new());
    assert_eq!(lab.status().calls["DetachNetworkInterface"], 1);
}

#[test]
fn a_second_lab_of_the_same_name_is_refused() {
    let running = Running::up("twice");
    let again = Lab::named(&running.base, running.lab.name()).unwrap();
    assert!(matches!(again.expect_absent(), Err(LabError::AlreadyUp { .. })));
    assert!(matches!(again.serve(), Err(LabError::AlreadyUp { .. })));
    running.lab.status().expect("the first one is unharmed");
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let name = format!("lab-{}-alien", std::process::id());
    let base = std::env::temp_dir().join(&name);
    let file = base.join(&name).join("precious");
    std::fs::create_dir_all(base.join(&name)).unwrap();
    std::fs::write(&file, "x").unwrap();
    let lab = Lab::named(&base, &name).unwrap();
    assert!(matches!(lab.down(), Err(LabError::Io { .. })));
    assert!(matches!(lab.serve(), Err(LabError::Io { .. })));
    assert!(file.exists());
    std::fs::remove_dir_all(&base).unwrap();
}

#[test]
fn down_may_be_repeated_and_leaves_nothing() {
    let running = Running::up("down");
    let footprint = running.lab.footprint().clone();
    let removed = running.lab.down().unwrap();
    assert_eq!(removed, Removed { was_running: true, residents: 0, namespaces: 4 });
    assert!(footprint.namespaces().all(|namespace| !namespace.exists()));
    assert!(!running.lab.directory().exists());
    assert_eq!(running.lab.down().unwrap(), Removed::default());
    assert!(matches!(running.lab.status(), Err(LabError::NotUp { .. })));
}
