//! How many are served at once, and who makes room.
//!
//! A peer that was answered, or that began to speak and does not go on, has its place only as long as nobody needs it:
//! however many connect and say nothing, the next one that speaks is served.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// The places.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    silent: Mutex<Silent>,
    somebody_is_silent: Notify,
}

/// Those who are listened to, the longest first.
#[derive(Debug, Default)]
struct Silent {
    next: u64,
    told_to_leave: BTreeMap<u64, oneshot::Sender<Stays>>,
}

/// By which a peer that was told to leave says that it stays, for it has said everything meanwhile.
type Stays = oneshot::Sender<()>;

/// One of them, for as long as it is listened to.
#[derive(Debug)]
pub(crate) struct Listening {
    places: Places,
    number: u64,
    /// None when it was told to leave.
    told: Option<oneshot::Receiver<Stays>>,
}

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Inner {
            free: Arc::new(Semaphore::new(count)),
            silent: Mutex::default(),
            somebody_is_silent: Notify::new(),
        }))
    }

    /// A place: a free one, or that of whoever is listened to longest. Waits only while everybody is being served.
    pub(crate) async fn take(&self) -> io::Result<OwnedSemaphorePermit> {
        let Inner { free, somebody_is_silent, .. } = &*self.0;
        loop {
            if let Ok(place) = Arc::clone(free).try_acquire_owned() {
                return Ok(place);
            }
            let freed = Arc::clone(free).acquire_owned();
            let longest = self.silent().told_to_leave.pop_first();
            match longest {
                Some((_, leave)) => {
                    let (stays, stayed) = oneshot::channel();
                    let _left_already = leave.send(stays);
                    tokio::select! {
                        biased;
                        place = freed => return place.map_err(io::Error::other),
                        // Whoever leaves says nothing, and its place becomes free.
                        Ok(()) = stayed => {}
                    }
                }
                None => tokio::select! {
                    biased;
                    place = freed => return place.map_err(io::Error::other),
                    () = somebody_is_silent.notified() => {}
                },
            }
        }
    }

    /// Listens to a peer, unless its place is needed before it has `said` everything.
    pub(crate) async fn listen<T>(&self, said: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut listening = self.begin_to_listen();
        tokio::select! {
            biased;
            said = said => {
                if said.is_ok() {
                    listening.heard();
                }
                said
            }
            () = poll_fn(|context| listening.poll_told(context)) => {
                Err(io::Error::other("others need the place of a peer that says nothing"))
            }
        }
    }

    /// Listens to a peer until [`Listening::heard`], or until [`Listening::poll_told`] says that its place is needed.
    pub(crate) fn begin_to_listen(&self) -> Listening {
        let (leave, told) = oneshot::channel();
        let mut silent = self.silent();
        let number = silent.next;
        silent.next += 1;
        silent.told_to_leave.insert(number, leave);
        drop(silent);
        self.0.somebody_is_silent.notify_one();
        Listening { places: self.clone(), number, told: Some(told) }
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.0.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// It has said everything and keeps its place, also when it was told to leave a moment ago.
    pub(crate) fn heard(mut self) {
        if let Some(stays) = self.told.as_mut().and_then(|told| told.try_recv().ok()) {
            let _nobody_waits = stays.send(());
        }
    }

    /// Ready once the place is needed: then it is to be left.
    pub(crate) fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(told) = &mut self.told else { return Poll::Ready(()) };
        let polled = Pin::new(told).poll(context);
        if polled.is_ready() {
            self.told = None;
        }
        polled.map(drop)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.places.silent().told_to_leave.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_is_listened_to_longest_makes_room_and_nobody_who_is_served_does() {
        let places = Places::new(2);
        let (first, second) = (places.take().await.unwrap(), places.take().await.unwrap());
        // Everybody is being served: the third waits.
        assert!(places.take().now_or_never().is_none());
        let silent = async |place: OwnedSemaphorePermit| {
            let heard = places.listen(pending::<io::Result<()>>()).await;
            drop(place);
            heard
        };
        let (mut longest, mut later) = (Box::pin(silent(first)), Box::pin(silent(second)));
        assert!(longest.as_mut().now_or_never().is_none());
        assert!(later.as_mut().now_or_never().is_none());
        let mut third = Box::pin(places.take());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(later.as_mut().now_or_never().is_none());
        assert!(longest.now_or_never().unwrap().is_err());
        assert!(third.now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn whoever_has_said_everything_is_heard_even_when_the_place_is_needed() {
        let places = Places::new(1);
        let _place = places.take().await.unwrap();
        assert_eq!(places.listen(ready(Ok(7))).await.unwrap(), 7);
        assert!(places.silent().told_to_leave.is_empty());
    }

    #[tokio::test]
    async fn when_the_one_that_was_told_to_leave_speaks_up_another_makes_room() {
        let places = Places::new(2);
        let (first, second) = (places.take().await.unwrap(), places.take().await.unwrap());
        let speaks = places.begin_to_listen();
        let mut third = Box::pin(places.take());
        assert!(third.as_mut().now_or_never().is_none());
        speaks.heard();
        // Nobody is silent now; whoever is next makes room at once.
        assert!(third.as_mut().now_or_never().is_none());
        let mut silent = Box::pin(async {
            let heard = places.listen(pending::<io::Result<()>>()).await;
            drop(second);
            heard
        });
        assert!(silent.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(silent.now_or_never().unwrap().is_err());
        assert!(third.now_or_never().unwrap().is_ok());
        drop(first);
    }
}
