//! The lab's control socket: one request and one answer per connection, each a line of JSON.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::deed::Deed;
use super::status::Status;

/// Longest line either side accepts: a status with a thousand ENIs fits many times over.
pub(crate) const MAX_LINE: u64 = 8 * 1024 * 1024;
/// How long the lab may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may be asked of a running lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", content = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Others do this.
    Perform(Deed),
    /// How is the world?
    Status,
    /// Stop serving, take the network away and end.
    Stop,
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// It is done, and the network shows it.
    Done,
    /// The world.
    Status(Box<Status>),
    /// It is stopping.
    Stopping,
    /// The request was not understood, or EC2 would not have it.
    Refused {
        /// Why.
        why: String,
    },
}

/// Asks the lab behind `socket`.
pub(super) fn ask(socket: &Path, request: &Request) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(io::Read::take(stream, MAX_LINE)).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}
