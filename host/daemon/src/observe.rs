//! `/metrics`, `/healthz` and `/readyz` over HTTP: what is seen of the daemon from outside.
//!
//! Anybody who reaches the port may read, so that nothing here names a pod. What strangers do costs no more than a look at
//! the node and a text of it each second, and some descriptors; who says nothing, or does not read, makes room for the
//! next, so that a probe is answered in any crowd. One request a connection. Map: `entrance` who is let in.

mod entrance;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request as Asked, State};
use axum::http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use enid_core::node::{Readiness, Status};
use enid_engine::run::{Query, Request, View};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::metrics::{Format, Metrics, Site};
use entrance::{Entrance, Guest};

/// How long one look at the node, or that none could be had, serves everybody.
const FRESH: Duration = Duration::from_secs(1);
/// How long the engine may take to answer until the daemon counts as hanging.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// When a port that is in use is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// What readers are told from.
pub(crate) struct Window {
    /// The engine.
    pub(crate) engine: mpsc::Sender<Request>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// What is known of the node besides.
    pub(crate) site: Site,
}

/// Serves at the address that `listen` has, and at another one when that changes, until its sender is gone.
pub(crate) async fn serve(window: Window, mut listen: watch::Receiver<Option<SocketAddr>>) {
    let routes = routes(window);
    loop {
        let address = *listen.borrow_and_update();
        if address.is_none() {
            info!("metrics are not served (observe.listen)");
        }
        let at_address = async {
            match address {
                Some(address) => serve_at(address, routes.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = listen.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            never = at_address => match never {},
        }
    }
}

fn routes(window: Window) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Pane { window, seen: Mutex::new(None) }))
        .layer(from_fn(once))
}

/// Serves at `address`. A port that cannot be had is no reason to do without pods.
async fn serve_at(address: SocketAddr, routes: Router) -> Infallible {
    let mut said = None;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "serving /metrics, /healthz and /readyz");
                let served = let_in(listener, routes.clone()).await;
                warn!(%address, ended = ?served, "metrics are not served any more; tried again");
            }
            Err(why) => {
                let why = why.to_string();
                if said.as_ref() != Some(&why) {
                    warn!(%address, reason = %why, "metrics cannot be served here; tried again every 10 s (observe.listen)");
                    said = Some(why);
                }
            }
        }
        sleep(AGAIN).await;
    }
}

async fn let_in(listener: TcpListener, routes: Router) -> io::Result<()> {
    axum::serve(Entrance::new(listener), routes.into_make_service_with_connect_info::<Guest>()).await
}

/// What all readers look through: one look at the node serves those of a second.
struct Pane {
    window: Window,
    seen: Mutex<Option<(Instant, Option<Arc<Look>>)>>,
}

/// What was seen, and what was written of it so far.
struct Look {
    status: Box<Status>,
    open_metrics: OnceLock<Bytes>,
    classic: OnceLock<Bytes>,
}

impl Pane {
    /// The node as it was within the last second; none when the engine does not answer.
    async fn look(&self) -> Option<Arc<Look>> {
        let mut seen = self.seen.lock().await;
        if let Some((at, look)) = seen.as_ref()
            && at.elapsed() < FRESH
        {
            return look.clone();
        }
        let look = timeout(ANSWER_WITHIN, self.ask()).await.ok().flatten();
        let look = look
            .map(|status| Arc::new(Look { status, open_metrics: OnceLock::new(), classic: OnceLock::new() }));
        *seen = Some((Instant::now(), look.clone()));
        look
    }

    async fn ask(&self) -> Option<Box<Status>> {
        let (reply, answer) = oneshot::channel();
        self.window.engine.send(Request::Query { query: Query::Status, reply }).await.ok()?;
        match answer.await.ok()? {
            View::Status(status) => Some(status),
            View::Readiness(_) | View::Addresses(_) | View::Explanation(_) => None,
        }
    }

    /// What is seen and counted, as text.
    fn text(&self, look: &Look, format: Format) -> Bytes {
        let written = match format {
            Format::OpenMetrics => &look.open_metrics,
            Format::Classic => &look.classic,
        };
        let Window { metrics, site, .. } = &self.window;
        written.get_or_init(|| metrics.expose(&look.status, site, format).into()).clone()
    }
}

/// Answers one request and hangs up: a reader that comes once in a while needs no connection in between.
async fn once(ConnectInfo(guest): ConnectInfo<Guest>, request: Asked, next: Next) -> Response {
    guest.heard();
    let mut response = next.run(request).await;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn hangs() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer\n").into_response()
}

async fn metrics(State(pane): State<Arc<Pane>>, headers: HeaderMap) -> Response {
    let Some(look) = pane.look().await else { return hangs() };
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let text = pane.text(&look, format);
    ([(CONTENT_TYPE, HeaderValue::from_static(format.content_type()))], text).into_response()
}

async fn healthz(State(pane): State<Arc<Pane>>) -> Response {
    pane.look().await.map_or_else(hangs, |_| "ok\n".into_response())
}

async fn readyz(State(pane): State<Arc<Pane>>) -> Response {
    let Some(look) = pane.look().await else { return hangs() };
    let why = match &look.status.readiness {
        Readiness::Ready => return "ready\n".into_response(),
        Readiness::Full { reason } | Readiness::NotReady { reason } => format!("{reason}\n"),
        Readiness::Impaired { what, reason } => format!("{what}: {reason}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

#[cfg(test)]
mod tests;
