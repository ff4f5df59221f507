//! Instance metadata, version 2 only: what EC2 tells an instance about itself at 169.254.169.254.
//!
//! Shows the model's metadata view, which lags behind EC2 as the real one does. The caller is known by the
//! address that it comes from. Version 1 (no token) is refused, as on an instance that requires tokens.
//! Credentials are dummies: they let the SDK's default chain succeed and open nothing.
//!
//! * [`router`]: for callers inside the VPC · [`router_for`]: for one instance, wherever the caller is ·
//!   `token`: session tokens · `tree`: the paths and what is there.

mod token;
mod tree;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use enid_core::ids::InstanceId;
use enid_core::time::Timestamp;
use enid_sim::ec2::Ec2;

use crate::wire::{lock, now};
use token::Tokens;

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The service for callers in the VPC: needs the peer's address (`ConnectInfo`).
pub fn router(ec2: Arc<Mutex<Ec2>>) -> Router {
    service(ec2, Caller::ByAddress)
}

/// The service as `instance` sees it, for any caller: for clients on loopback.
pub fn router_for(ec2: Arc<Mutex<Ec2>>, instance: InstanceId) -> Router {
    service(ec2, Caller::Fixed(instance))
}

/// Who asks.
enum Caller {
    ByAddress,
    Fixed(InstanceId),
}

struct Metadata {
    ec2: Arc<Mutex<Ec2>>,
    caller: Caller,
    tokens: Mutex<Tokens>,
}

/// A status and the words that go with it.
type Answer = (StatusCode, String, Option<u32>);

fn service(ec2: Arc<Mutex<Ec2>>, caller: Caller) -> Router {
    let metadata = Metadata { ec2, caller, tokens: Mutex::new(Tokens::default()) };
    Router::new().fallback(serve).with_state(Arc::new(metadata))
}

async fn serve(State(metadata): State<Arc<Metadata>>, request: Request) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let (status, text, ttl) = metadata.answer(&request, peer, now());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::SERVER, HeaderValue::from_static("EC2ws"));
    if let Some(ttl) = ttl {
        headers.insert(TTL, HeaderValue::from(ttl));
    }
    response
}

impl Metadata {
    fn answer(&self, request: &Request, peer: Option<SocketAddr>, now: Timestamp) -> Answer {
        let Some(instance) = self.instance(peer) else {
            return plain(StatusCode::NOT_FOUND, "no instance has this address");
        };
        let (method, path) = (request.method(), request.uri().path());
        if *method == Method::PUT && path == TOKEN_PATH {
            return self.new_token(&instance, request.headers(), now);
        }
        if *method != Method::GET && *method != Method::HEAD {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "");
        }
        let token = request.headers().get(TOKEN).and_then(|value| value.to_str().ok());
        let left = token.and_then(|token| self.tokens().seconds_left(token, &instance, now));
        let Some(left) = left else {
            return plain(StatusCode::UNAUTHORIZED, "");
        };
        let view = lock(&self.ec2).metadata(now, &instance);
        let dns_name = |address| lock(&self.ec2).private_dns_name(address);
        let found = view.and_then(|view| tree::Tree::of(&view, now, dns_name).at(path));
        match found {
            Some(text) => (StatusCode::OK, text, Some(left)),
            None => plain(StatusCode::NOT_FOUND, ""),
        }
    }

    fn new_token(&self, instance: &InstanceId, headers: &HeaderMap, now: Timestamp) -> Answer {
        // A proxy in between may be an attacker's: AWS hands it nothing.
        if headers.contains_key("x-forwarded-for") {
            return plain(StatusCode::FORBIDDEN, "");
        }
        let ttl = headers.get(TTL).and_then(|value| value.to_str().ok()?.parse().ok());
        match ttl.filter(|ttl| token::TTL_SECONDS.contains(ttl)) {
            Some(ttl) => (StatusCode::OK, self.tokens().issue(instance, ttl, now), Some(ttl)),
            None => plain(StatusCode::BAD_REQUEST, ""),
        }
    }

    fn instance(&self, peer: Option<SocketAddr>) -> Option<InstanceId> {
        match &self.caller {
            Caller::Fixed(instance) => Some(instance.clone()),
            Caller::ByAddress => match peer?.ip() {
                IpAddr::V4(address) => lock(&self.ec2).instance_at(address).cloned(),
                IpAddr::V6(_) => None,
            },
        }
    }

    fn tokens(&self) -> std::sync::MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }
}

fn plain(status: StatusCode, text: &str) -> Answer {
    (status, text.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use enid_sim::ec2::instance::RunInstances;
    use enid_sim::ec2::{Config, Delays, Tags};

    use super::*;

    fn ask(metadata: &Metadata, method: Method, path: &str, header: (&str, &str), peer: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header.0, header.1);
        let request = request.body(Body::empty()).unwrap();
        metadata.answer(&request, peer.parse().ok(), Timestamp(1_000))
    }

    #[test]
    fn a_caller_is_known_by_its_address_and_keeps_its_token_to_itself() {
        let mut ec2 = Ec2::new(1, Config { delays: Delays::none(), ..Config::default() });
        let vpc = ec2.add_vpc("10.0.0.0/16".parse().unwrap()).unwrap();
        let subnet =
            ec2.add_subnet(&vpc, "eu-central-1a", "10.0.1.0/24".parse().unwrap(), Tags::new()).unwrap();
        let mut launch = |address: &str| {
            let request = RunInstances {
                primary: Some(address.parse().unwrap()),
                ..RunInstances::one("t3.small", subnet.clone())
            };
            ec2.launch(Timestamp(0), &request).unwrap()
        };
        let (one, two) = (launch("10.0.1.10"), launch("10.0.1.20"));
        let metadata =
            Metadata { ec2: Arc::new(Mutex::new(ec2)), caller: Caller::ByAddress, tokens: Mutex::default() };
        let id = "/latest/meta-data/instance-id";
        let token = |peer| ask(&metadata, Method::PUT, TOKEN_PATH, (TTL, "60"), peer).1;
        for (peer, instance) in [("10.0.1.10:1", &one), ("10.0.1.20:1", &two)] {
            let (status, text, _) = ask(&metadata, Method::GET, id, (TOKEN, &token(peer)), peer);
            assert_eq!((status, text), (StatusCode::OK, instance.to_string()));
        }
        let foreign = ask(&metadata, Method::GET, id, (TOKEN, &token("10.0.1.10:1")), "10.0.1.20:1");
        assert_eq!(foreign.0, StatusCode::UNAUTHORIZED);
        for stranger in ["10.0.1.30:1", "192.0.2.1:1", "[::1]:1"] {
            let refused = ask(&metadata, Method::PUT, TOKEN_PATH, (TTL, "60"), stranger);
            assert_eq!(refused.0, StatusCode::NOT_FOUND);
        }
    }
}
