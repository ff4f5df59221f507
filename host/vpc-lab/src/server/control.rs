//! The answering side of the control socket.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::world::World;
use crate::lab::control::{MAX_LINE, Reply, Request};
use crate::lab::deed::Deed;

/// Takes the place of a socket that an earlier process left; the lab's lock says that it is gone.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(path)
}

/// Answers one client after another: requests are rare and quick.
pub(super) async fn answer_all(listener: UnixListener, world: Arc<World>, stop: Arc<Notify>) -> io::Error {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                if let Err(error) = answer(client, &world, &stop).await {
                    tracing::debug!(%error, "control client left");
                }
            }
            Err(error) => return error,
        }
    }
}

async fn answer(client: UnixStream, world: &Arc<World>, stop: &Notify) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut line = String::new();
    (&mut client).take(MAX_LINE).read_line(&mut line).await?;
    let reply = match serde_json::from_str(&line) {
        Ok(Request::Perform(deed)) => perform(world, deed).await,
        Ok(Request::Status) => status(world).await,
        Ok(Request::Stop) => {
            stop.notify_one();
            Reply::Stopping
        }
        Err(error) => Reply::Refused { why: error.to_string() },
    };
    let mut answer = serde_json::to_vec(&reply)?;
    answer.push(b'\n');
    client.write_all(&answer).await
}

/// Reading the router's counters blocks.
async fn status(world: &Arc<World>) -> Reply {
    let world = Arc::clone(world);
    match tokio::task::spawn_blocking(move || world.status()).await {
        Ok(status) => Reply::Status(Box::new(status)),
        Err(error) => Reply::Refused { why: format!("look at the world: {error}") },
    }
}

/// The network's tools block, too.
async fn perform(world: &Arc<World>, deed: Deed) -> Reply {
    let world = Arc::clone(world);
    match tokio::task::spawn_blocking(move || world.perform(&deed)).await {
        Ok(Ok(())) => Reply::Done,
        Ok(Err(error)) => Reply::Refused { why: error.to_string() },
        Err(error) => Reply::Refused { why: format!("let others do something: {error}") },
    }
}
