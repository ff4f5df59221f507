//! EC2 calls of somebody inside the VPC who needs no more of a client than this.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::landscape::EC2_ADDRESS;
use crate::namespace::NetNs;

/// How long EC2 may take: the model answers within its documented latency, a few hundred milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is taken: descriptions of a thousand ENIs fit.
const MAX_ANSWER: u64 = 8 * 1024 * 1024;

/// Posts a form to EC2 from inside `vpc`: the document that came back, or what EC2 says against it.
pub(super) fn ec2(vpc: &NetNs, form: &str) -> io::Result<Result<String, String>> {
    let body = format!("{form}&Version=2016-11-15");
    let request = format!(
        "POST / HTTP/1.1\r\nhost: {EC2_ADDRESS}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let to = SocketAddr::from((EC2_ADDRESS, 80));
    let mut stream = vpc.inside(|| TcpStream::connect_timeout(&to, PATIENCE))??;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    let Some((head, document)) = answer.split_once("\r\n\r\n") else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {answer:?}")));
    };
    let document = document.to_owned();
    Ok(if head.starts_with("HTTP/1.1 200") { Ok(document) } else { Err(document) })
}
