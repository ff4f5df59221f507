//! The EC2 Query API in front of the model: what the AWS SDK, boto3 and the AWS CLI send and expect.
//!
//! Reads a form (`Action=…&Version=2016-11-15&Name.1=…`), asks the model, writes EC2's XML. Parameters that
//! the model does not know are refused by name rather than ignored, so that nobody believes that they work.
//! Signatures are accepted and *not* verified: any credentials do, none do too.
//!
//! * [`handle`]: one request without a network · [`router`]: the same over HTTP, with EC2's delays and lost replies.
//! * `form`: reading parameters · `request`: parameters as the model's requests · `answer`: one API each ·
//!   `resource`: the model's resources as XML · `xml`: writing elements.

mod answer;
mod form;
mod request;
mod resource;
mod xml;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use enid_core::time::Timestamp;
use enid_sim::ec2::Ec2;
use enid_sim::ec2::call::Call;
use enid_sim::ec2::refusal::{CallError, Code};

use form::Form;
use xml::Xml;

/// The only API version there has been since 2016, and the namespace of its answers.
const VERSION: &str = "2016-11-15";
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
/// EC2 takes more only for user data, which this model ignores.
const MAX_BODY: usize = 1 << 20;

/// What goes back to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A complete answer, good or bad.
    Answer {
        /// HTTP status.
        status: u16,
        /// The document.
        xml: String,
    },
    /// The call was carried out, and its answer must not arrive.
    Lost,
}

/// Answers one request, given as a form; `now` is the world's time.
pub fn handle(ec2: &mut Ec2, now: Timestamp, form: &str) -> Reply {
    let answered = read(form).and_then(|(call, form)| {
        let body = answer::answer(ec2, now, call, &form)?;
        Ok((call, body))
    });
    let request_id = request_id(ec2, now);
    match answered {
        Ok((call, body)) => {
            let mut xml = Xml::document();
            let root = format!("{call}Response");
            xml.root(&root, NAMESPACE, |xml| {
                xml.leaf("requestId", &request_id);
                xml.append(body);
            });
            Reply::Answer { status: 200, xml: xml.finish() }
        }
        Err(CallError::Refused { code, message }) => refusal(code, &message, &request_id),
        Err(CallError::ReplyLost { .. }) => Reply::Lost,
    }
}

/// The API and parameters of a request.
fn read(form: &str) -> Result<(Call, Form), CallError> {
    let form = Form::parse(form)?;
    if let Some(version) = form.text("Version").filter(|version| *version != VERSION) {
        let message = format!("The version '{version}' is not one of this service: {VERSION}.");
        return Err(CallError::Refused { code: Code::NoSuchVersion, message });
    }
    let Some(action) = form.text("Action") else {
        let message = "The request must contain the parameter Action".to_owned();
        return Err(CallError::Refused { code: Code::MissingAction, message });
    };
    let call = action.parse().map_err(|_| CallError::Refused {
        code: Code::InvalidAction,
        message: format!("The action {action} is not valid for this web service."),
    })?;
    Ok((call, form))
}

fn refusal(code: Code, message: &str, request_id: &str) -> Reply {
    let mut xml = Xml::document();
    xml.element("Response", |xml| {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.leaf("Code", code.as_str());
                xml.leaf("Message", message);
            });
        });
        xml.leaf("RequestID", request_id);
    });
    Reply::Answer { status: code.status(), xml: xml.finish() }
}

/// Looks like EC2's; made of the time and the number of calls so far, so that runs can be compared.
fn request_id(ec2: &Ec2, now: Timestamp) -> String {
    let calls: u64 = ec2.calls().values().sum();
    let millis = now.0;
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        (millis >> 16) & 0xffff_ffff,
        millis & 0xffff,
        (calls >> 36) & 0xfff,
        (calls >> 24) & 0xfff,
        calls & 0xff_ffff
    )
}

/// The service on every path, over a model that others may use too.
///
/// Waits as long as the model says that the call takes, without holding the model.
pub fn router(ec2: Arc<Mutex<Ec2>>) -> Router {
    Router::new().fallback(serve).with_state(ec2)
}

async fn serve(State(ec2): State<Arc<Mutex<Ec2>>>, request: Request) -> Response {
    let in_address = request.uri().query().unwrap_or_default().to_owned();
    let Ok(body) = to_bytes(request.into_body(), MAX_BODY).await else {
        return document(413, String::new());
    };
    let Ok(in_body) = String::from_utf8(body.to_vec()) else {
        let refused = refusal(Code::MalformedQueryString, "The request is not UTF-8.", "");
        return respond(refused);
    };
    let form = if in_body.is_empty() { in_address } else { in_body };
    if let Ok((call, _)) = read(&form) {
        let latency = lock(&ec2).latency(call);
        tokio::time::sleep(latency).await;
    }
    let reply = handle(&mut lock(&ec2), now(), &form);
    respond(reply)
}

fn respond(reply: Reply) -> Response {
    match reply {
        Reply::Answer { status, xml } => document(status, xml),
        Reply::Lost => {
            // A promise of a body that breaks off: hyper closes the connection, the client knows nothing.
            let broken = std::io::Error::other("the reply is lost");
            Response::new(Body::from_stream(futures::stream::iter([Err::<Bytes, _>(broken)])))
        }
    }
}

fn document(status: u16, xml: String) -> Response {
    let mut response = Response::new(Body::from(xml));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content = HeaderValue::from_static("text/xml;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content);
    response
}

/// A panic elsewhere must not silence the endpoints; nothing behind a lock is ever left half-changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall time: real clients live in it.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
