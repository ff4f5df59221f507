//! A server on loopback that answers EC2 and metadata requests as a test tells it to, well or badly.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use enid_cloud_aws::{AwsCloud, Options, Timeouts};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// The parameters of an EC2 request, decoded.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Request {
    pub(crate) fn action(&self) -> &str {
        self.parameter("Action")
    }

    /// The parameter, or nothing.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// What to answer.
pub(crate) enum Answer {
    Reply(u16, String),
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Answer {
    /// EC2's envelope for a success.
    pub(crate) fn ec2(action: &str, inner: &str) -> Answer {
        Answer::Reply(
            200,
            format!(
                "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                 <requestId>req-1</requestId>{inner}</{action}Response>"
            ),
        )
    }

    /// EC2's envelope for a failure.
    pub(crate) fn ec2_error(status: u16, code: &str, message: &str) -> Answer {
        Answer::Reply(
            status,
            format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
                 <RequestID>req-1</RequestID></Response>"
            ),
        )
    }
}

/// The metadata of a sound node; a test may take pieces away.
pub(crate) fn metadata() -> BTreeMap<String, String> {
    let interface = "network/interfaces/macs/02:00:00:00:00:01";
    [
        ("instance-id", "i-1"),
        ("instance-type", "m5.large"),
        ("placement/region", "eu-test-1"),
        ("placement/availability-zone", "eu-test-1a"),
        ("mac", "02:00:00:00:00:01"),
        ("local-ipv4", "10.0.0.4"),
        ("network/interfaces/macs/", "02:00:00:00:00:01/"),
        (&format!("{interface}/interface-id"), "eni-1"),
        (&format!("{interface}/device-number"), "0"),
        (&format!("{interface}/local-ipv4s"), "10.0.0.4\n10.0.0.9"),
        (&format!("{interface}/subnet-id"), "subnet-1"),
        (&format!("{interface}/subnet-ipv4-cidr-block"), "10.0.0.0/24"),
        (&format!("{interface}/vpc-id"), "vpc-1"),
        (&format!("{interface}/security-group-ids"), "sg-1\nsg-2"),
        (&format!("{interface}/vpc-ipv4-cidr-blocks"), "10.0.0.0/16\n100.64.0.0/16"),
        ("iam/security-credentials/", "node"),
        (
            "iam/security-credentials/node",
            "{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"AKIAEXAMPLE\",\"SecretAccessKey\":\"secret\",\
             \"Token\":\"token\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"Expiration\":\"2099-01-01T00:00:00Z\"}",
        ),
    ]
    .map(|(path, value)| (path.to_owned(), value.to_owned()))
    .into()
}

/// A running server; it ends with the test's process.
pub(crate) struct Canned {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Canned {
    /// Serves `metadata`, and answers EC2 requests with `ec2`.
    pub(crate) fn start(
        metadata: BTreeMap<String, String>,
        ec2: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Canned {
        Self::start_with(move |request| match request.path.strip_prefix("/latest/") {
            Some("api/token") => Answer::Reply(200, "session-token".to_owned()),
            Some(path) => match metadata.get(path.trim_start_matches("meta-data/")) {
                Some(value) => Answer::Reply(200, value.clone()),
                None => Answer::Reply(404, "not here".to_owned()),
            },
            None => ec2(request),
        })
    }

    /// Answers whatever is asked with `answer`.
    pub(crate) fn start_with(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                thread::spawn(move || serve(&stream.unwrap(), &*answer, &log));
            }
        });
        Canned { address, seen }
    }

    /// The EC2 requests so far, in order.
    pub(crate) fn ec2_requests(&self) -> Vec<Request> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|request| !request.path.starts_with("/latest/")).cloned().collect()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A cloud that talks to this server, with time-outs of `millis`.
    pub(crate) fn cloud(&self, millis: u64) -> AwsCloud {
        let wait = std::time::Duration::from_millis(millis);
        AwsCloud::connect(Options {
            region: None,
            ec2_endpoint: Some(self.url()),
            imds_endpoint: Some(self.url()),
            timeouts: Timeouts { connect: wait, operation: wait },
        })
        .unwrap()
    }
}

fn serve(stream: &TcpStream, answer: &dyn Fn(&Request) -> Answer, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = next_request(&mut reader) {
        log.lock().unwrap().push(request.clone());
        match answer(&request) {
            Answer::Reply(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} Canned\r\ncontent-length: {}\r\nx-amzn-requestid: req-1\r\n\
                     x-aws-ec2-metadata-token-ttl-seconds: 300\r\n\r\n",
                    body.len()
                );
                if (&*stream).write_all((head + &body).as_bytes()).is_err() {
                    return;
                }
            }
            // The client hangs up when it has waited long enough.
            Answer::Silence => drop(reader.read(&mut [0])),
        }
    }
}

fn next_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let parameters =
        body.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decoded(k), decoded(v)));
    Some(Request { path, parameters: parameters.collect() })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex = std::str::from_utf8(&tail[..2]).unwrap();
                bytes.push(u8::from_str_radix(hex, 16).unwrap());
                rest = &tail[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}
