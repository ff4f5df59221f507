//! Every way a call can fail, as a [`CloudError`].

use std::error::Error;
use std::fmt::Display;

use aws_config::imds::client::error::ImdsError;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use enid_core::cloud::{CloudError, CloudErrorKind};

/// The name under which metadata's failures are reported.
pub(crate) const IMDS: &str = "IMDS";

/// Longest message kept; EC2's encoded authorization messages run to kilobytes.
const MESSAGE_CHARS: usize = 600;

/// Reads an SDK failure of the EC2 API `call`.
pub(crate) fn ec2<E>(call: &str, error: &SdkError<E, HttpResponse>) -> CloudError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let request = match answer.err().meta().request_id() {
                Some(id) => format!("(request {id})"),
                None => format!("(HTTP {status})"),
            };
            match answer.err().code() {
                Some(code) => {
                    refused(call, code, answer.err().message().unwrap_or("no message"), status, &request)
                }
                None => failed(
                    call,
                    CloudErrorKind::Unavailable,
                    format!("an answer without an error code {request}"),
                ),
            }
        }
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            let why = chain(error.source());
            failed(
                call,
                CloudErrorKind::Unavailable,
                format!("not an answer of EC2's (HTTP {status}): {why}"),
            )
        }
        SdkError::TimeoutError(_) => {
            failed(call, CloudErrorKind::Unavailable, format!("no answer in time: {}", chain(error.source())))
        }
        SdkError::DispatchFailure(_) => match credentials_error(error) {
            Some(cause) => without_credentials(call, cause),
            None => {
                failed(call, CloudErrorKind::Unavailable, format!("no connection: {}", chain(error.source())))
            }
        },
        SdkError::ConstructionFailure(_) => match credentials_error(error) {
            Some(cause) => without_credentials(call, cause),
            None => failed(call, CloudErrorKind::Rejected, format!("cannot ask: {}", chain(error.source()))),
        },
        // The SDK may grow variants; what they say is unknown, and so is the outcome.
        other => failed(call, CloudErrorKind::Unavailable, chain(Some(other))),
    }
}

/// Reads a failure to read `path` from metadata.
pub(crate) fn imds(path: &str, error: &ImdsError) -> CloudError {
    let (kind, why) = match error {
        ImdsError::ErrorResponse(answer) => {
            let status = answer.response().status().as_u16();
            let (kind, why) = match status {
                401 => (CloudErrorKind::Unavailable, "the session token is no longer valid"),
                403 => (CloudErrorKind::Denied, "instance metadata is switched off or forbidden"),
                404 => (CloudErrorKind::Gone, "no such metadata"),
                _ => (CloudErrorKind::Unavailable, "metadata cannot answer"),
            };
            (kind, format!("{why} (HTTP {status})"))
        }
        ImdsError::FailedToLoadToken(_) => (
            CloudErrorKind::Unavailable,
            format!(
                "no session token; from a container the metadata hop limit must be 2: {}",
                chain(error.source())
            ),
        ),
        ImdsError::IoError(_) | ImdsError::Unexpected(_) => {
            (CloudErrorKind::Unavailable, chain(error.source()))
        }
        // The SDK may grow variants.
        other => (CloudErrorKind::Unavailable, chain(Some(other))),
    };
    failed(IMDS, kind, format!("read {path}: {why}"))
}

/// An answer that lacks `what`, or holds it in a form that cannot be right.
///
/// The call may well have had its effect, which is what `Unavailable` says.
pub(crate) fn unreadable(call: &str, what: &str, why: impl Display) -> CloudError {
    failed(call, CloudErrorKind::Unavailable, format!("{what} in the answer: {why}"))
}

/// A failure of `call` in words of our own.
pub(crate) fn failed(call: &str, kind: CloudErrorKind, message: impl Into<String>) -> CloudError {
    CloudError { call: call.to_owned(), kind, message: message.into() }
}

/// EC2's own refusal. The core's table knows the codes; only we know the HTTP status, and with a 4xx even
/// a code that nobody knows means that nothing was done.
fn refused(call: &str, code: &str, message: &str, status: u16, request: &str) -> CloudError {
    let error = CloudError::refused(call, code, message);
    let nobody_knows = error.kind == CloudErrorKind::Unavailable && (400..500).contains(&status);
    let kind = if nobody_knows { CloudErrorKind::Rejected } else { error.kind };
    failed(call, kind, format!("{} {request}", cut(error.message)))
}

fn without_credentials(call: &str, cause: &CredentialsError) -> CloudError {
    let (kind, advice) = match cause {
        CredentialsError::CredentialsNotLoaded(_) => (
            CloudErrorKind::Denied,
            "no AWS credentials found: give the instance a role, or the pod a service account with one",
        ),
        CredentialsError::InvalidConfiguration(_) => {
            (CloudErrorKind::Denied, "the AWS credential settings are wrong")
        }
        CredentialsError::ProviderTimedOut(_) => (CloudErrorKind::Unavailable, "no AWS credentials in time"),
        // The source of credentials is there but fails now; the SDK may grow variants.
        CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) | _ => {
            (CloudErrorKind::Unavailable, "cannot load AWS credentials")
        }
    };
    failed(call, kind, format!("{advice}: {}", chain(Some(cause))))
}

fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error and its causes on one line, without repetitions.
fn chain(error: Option<&(dyn Error + 'static)>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error;
    while let Some(error) = next {
        let part = error.to_string().replace(['\n', '\r'], " ");
        if !parts.iter().any(|earlier| earlier.contains(&part)) {
            parts.push(part);
        }
        next = error.source();
    }
    if parts.is_empty() { "no reason given".to_owned() } else { cut(parts.join(": ")) }
}

fn cut(message: String) -> String {
    match message.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_http_status_decides_about_codes_nobody_knows() {
        use CloudErrorKind::*;
        for (call, code, status, kind) in [
            ("DeleteNetworkInterface", "InvalidParameterValue", 400, Conflict),
            ("CreateNetworkInterface", "InvalidParameterValue", 400, Rejected),
            ("CreateNetworkInterface", "RequestLimitExceeded", 503, Throttled),
            ("CreateNetworkInterface", "InternalError", 500, Unavailable),
            ("CreateNetworkInterface", "SomethingNew", 400, Rejected),
            ("CreateNetworkInterface", "SomethingNew", 500, Unavailable),
        ] {
            let error = refused(call, code, "because", status, "(request r)");
            assert_eq!(error.kind, kind, "{call} {code} {status}");
            assert_eq!(error.message, format!("{code}: because (request r)"));
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let error = refused(
            "AttachNetworkInterface",
            "UnauthorizedOperation",
            &"ü".repeat(10_000),
            403,
            "(request r)",
        );
        assert!(error.message.chars().count() < MESSAGE_CHARS + 20 && error.message.ends_with("(request r)"));
    }
}
