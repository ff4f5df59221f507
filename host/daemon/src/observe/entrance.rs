//! Who is let in, for how long, and who makes room.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use crate::places::{Listening, Places};

/// Readers at once, of which those that say nothing, or do not read what they are told, make room.
pub(super) const CONNECTIONS: usize = 64;
/// How long a reader may take to say what it wants.
const SPEAK_WITHIN: Duration = Duration::from_secs(2);
/// Bytes that it may say: a dozen times what browsers do.
const SAYS_AT_MOST: usize = 16 * 1024;
/// How long it may take to read the answer.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Where readers come in.
pub(super) struct Entrance {
    listener: TcpListener,
    places: Places,
}

impl Entrance {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, places: Places::new(CONNECTIONS) }
    }
}

impl Listener for Entrance {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        // As axum does: what goes wrong with one connection is no matter, and too many descriptors pass.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let place = self.places.take().await.expect("invariant: nobody closes the places");
        let stay = Arc::new(Mutex::new(Stay::Speaking(self.places.begin_to_listen())));
        let ends = Box::pin(sleep(SPEAK_WITHIN));
        let (places, guest) = (self.places.clone(), Guest(stay));
        (Visit { stream, places, guest, said: 0, ends, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// How far a reader is.
#[derive(Debug)]
enum Stay {
    /// It has not said everything.
    Speaking(Listening),
    /// It has, and nothing was written to it yet: it waits for us.
    Served,
    /// It is told the answer.
    Reading(Listening),
}

/// A reader, as those who answer it know it.
#[derive(Clone, Debug)]
pub(super) struct Guest(Arc<Mutex<Stay>>);

impl Guest {
    /// It has said everything.
    pub(super) fn heard(&self) {
        if let Stay::Speaking(listening) = std::mem::replace(&mut *self.stay(), Stay::Served) {
            listening.heard();
        }
    }

    fn stay(&self) -> MutexGuard<'_, Stay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Entrance>> for Guest {
    fn connect_info(stream: IncomingStream<'_, Entrance>) -> Self {
        stream.io().guest.clone()
    }
}

/// A connection that ends after its time, or earlier when its place is needed.
pub(super) struct Visit {
    stream: TcpStream,
    places: Places,
    guest: Guest,
    said: usize,
    ends: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Visit {
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        match &mut *self.guest.stay() {
            // Our own time is bounded elsewhere.
            Stay::Served => false,
            Stay::Speaking(listening) | Stay::Reading(listening) => {
                listening.poll_told(context).is_ready() || self.ends.as_mut().poll(context).is_ready()
            }
        }
    }

    /// From now on it is up to the reader.
    fn answer(&mut self) {
        let mut stay = self.guest.stay();
        if matches!(*stay, Stay::Served) {
            *stay = Stay::Reading(self.places.begin_to_listen());
            self.ends.as_mut().reset(Instant::now() + READ_WITHIN);
        }
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said > SAYS_AT_MOST || self.is_over(context) {
            // Nothing more is read, as if it had hung up.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.said += buffer.filled().len() - before;
        polled
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answer();
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
