//! Who asks: every request but a probe gives a token, as `Bearer` or as the password of `Basic`.
//!
//! Tokens are followed live from ZooKeeper; during an outage those known last stay in force. The given one's hash is
//! compared with every stored one in constant time. Wrong tokens are counted per address: beyond a limit they get 429
//! instead of 401 and are no longer logged one by one. A valid token always goes through, so nobody can lock others out
//! who come through the same proxy. No text of a token is ever logged.

mod attempts;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use coordination::{Coordination, Role, TokenMap, TokenRecord, Tokens};
use schemas::secret::Secret;
use schemas::{Code, Error, Result};
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;
use tracing::warn;

use crate::AdminContext;
use crate::api::problem::Problem;
use crate::control::audit::now;
use crate::control::tokens::hash;
use crate::control::{Caller, Via};
use attempts::{Attempts, Verdict};

/// How exactly the last use of a token is noted.
const TOUCH: Duration = Duration::from_secs(3600);

/// Knows the tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Guard {
    tokens: watch::Receiver<Arc<TokenMap>>,
    store: Tokens,
    /// When this process noted the use of a token last, by id.
    touched: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Guard {
    /// Follows the tokens of an installation.
    ///
    /// # Errors
    /// `OT2001` when the first state cannot be read in time.
    pub async fn follow(coordination: &Coordination) -> Result<Self> {
        let store = coordination.tokens();
        Ok(Self { tokens: store.watch().await?, store, touched: Arc::default() })
    }

    /// The record of a token, if it is valid.
    fn find(&self, given: &Secret) -> Option<TokenRecord> {
        let given = hash(given.expose());
        let tokens = Arc::clone(&self.tokens.borrow());
        let mut found = None;
        // All of them, whatever was found: how long it takes says nothing.
        for token in tokens.values() {
            if bool::from(token.hash.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(token);
            }
        }
        found.cloned()
    }

    /// Notes the use, at most once an hour, beside the request.
    fn touch(&self, record: &TokenRecord) {
        let time = now();
        let hour = i64::try_from(TOUCH.as_millis()).unwrap_or(i64::MAX);
        if record.last_used.is_some_and(|last| time - last < hour) {
            return;
        }
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.get(&record.id).is_some_and(|at| at.elapsed() < TOUCH) {
            return;
        }
        touched.insert(record.id.clone(), Instant::now());
        let (store, record) = (self.store.clone(), record.clone());
        tokio::spawn(async move {
            if let Err(error) = store.touch(&record, time).await {
                warn!(token = record.name, %error, "the use of a token cannot be noted");
            }
        });
    }
}

/// Counts wrong tokens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failures(Arc<Attempts>);

/// The middleware: lets through who gives a valid token, and notes who it is.
pub(crate) async fn authenticate(State(context): State<AdminContext>, mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    match identify(&context, request.headers(), address) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refusal(request.uri().path(), error),
    }
}

/// What each method of the schema registry's API needs: viewers look, operators register and hide.
pub(crate) async fn registry_role(request: Request, next: Next) -> Response {
    // Looking a schema up and asking about compatibility are POSTs that change nothing.
    let path = request.uri().path();
    let asks = path.starts_with("/compatibility/") || (path.starts_with("/subjects/") && !path.ends_with("/versions"));
    let looks = matches!(*request.method(), Method::GET | Method::HEAD) || (*request.method() == Method::POST && asks);
    let role = if looks { Role::Viewer } else { Role::Operator };
    match request.extensions().get::<Caller>().map(|caller| caller.role) {
        Some(has) if has >= role => next.run(request).await,
        Some(has) => {
            let message = format!("this needs the role {role}, the token has {has}");
            refusal("/registry", Error::new(Code::NotAllowed, message))
        }
        None => refusal("/registry", Error::new(Code::NotAuthenticated, "the request was not authenticated")),
    }
}

/// A refusal in the form that the clients of the path know.
fn refusal(path: &str, error: Error) -> Response {
    let in_registry = path.strip_prefix("/registry").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !in_registry {
        return Problem::from(error).into_response();
    }
    let problem = Problem::from(error);
    let body = serde_json::json!({
        "error_code": problem.status,
        "message": format!("{}: {} {}", problem.code, problem.detail, problem.remedy),
    });
    let (parts, _) = problem.into_response().into_parts();
    let mut answer = (parts.status, parts.headers, axum::body::Body::from(body.to_string())).into_response();
    let media = HeaderValue::from_static("application/vnd.schemaregistry.v1+json");
    answer.headers_mut().insert(header::CONTENT_TYPE, media);
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}

fn identify(context: &AdminContext, headers: &HeaderMap, address: Option<IpAddr>) -> Result<Caller> {
    let Some(given) = credentials(headers) else {
        return Err(Error::new(Code::NotAuthenticated, "a token is needed: Authorization: Bearer otr_…"));
    };
    let guard = context.services.guard().ok_or_else(not_connected)?;
    let Some(record) = guard.find(&given) else {
        return Err(refuse(&context.failures, address));
    };
    guard.touch(&record);
    Ok(Caller {
        name: record.name,
        role: record.role,
        via: Via::Api,
        address: address.map(|a| a.to_string()),
        token: Some(given),
    })
}

fn refuse(failures: &Failures, address: Option<IpAddr>) -> Error {
    let address_text = address.map_or_else(|| "unknown".to_owned(), |a| a.to_string());
    match failures.0.count(address, Instant::now()) {
        Verdict::Few(count) => {
            warn!(address = address_text, count, "a request with a wrong token");
            Error::new(Code::NotAuthenticated, "the token is not valid: unknown or revoked")
        }
        Verdict::First => {
            warn!(address = address_text, "too many wrong tokens from this address; not logging them for a minute");
            Error::new(Code::TooManyAttempts, "too many wrong tokens from this address")
        }
        Verdict::Many => Error::new(Code::TooManyAttempts, "too many wrong tokens from this address"),
    }
}

pub(crate) fn not_connected() -> Error {
    Error::new(Code::ZooKeeperUnavailable, "this process has not reached ZooKeeper yet, so it knows no tokens")
}

/// The token that a request gives; `None` when it gives none that could be read.
fn credentials(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let text = if scheme.eq_ignore_ascii_case("bearer") {
        rest.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(BASE64_STANDARD.decode(rest.trim()).ok()?).ok()?;
        // The user's name is up to the client; the password is the token.
        decoded.split_once(':')?.1.to_owned()
    } else {
        return None;
    };
    (!text.is_empty()).then(|| Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn given(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
        credentials(&headers).map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn credentials_come_as_bearer_or_basic() {
        assert_eq!(given("Bearer otr_x"), Some("otr_x".into()));
        assert_eq!(given("bearer  otr_x "), Some("otr_x".into()));
        // user:otr_x
        assert_eq!(given("Basic dXNlcjpvdHJfeA=="), Some("otr_x".into()));
        for wrong in ["otr_x", "Bearer", "Bearer ", "Basic %%%", "Basic dXNlcg==", "Digest otr_x", "Basic dXNlcjo="] {
            assert_eq!(given(wrong), None, "{wrong}");
        }
        assert_eq!(credentials(&HeaderMap::new()).map(|_| ()), None);
    }
}
