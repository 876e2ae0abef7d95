//! Reading requests: every way in which one can be wrong is a [`Problem`] of the 4xx.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use schemas::{Code, Error};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::control::Caller;

/// The largest body, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Format {
    /// Of a media type, parameters left out.
    pub(crate) fn of(media: &str) -> Option<Self> {
        let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => Some(Self::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// What an answer is to be written in: YAML when only that is accepted.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        accept.split(',').find_map(Self::of).unwrap_or(Self::Json)
    }
}

/// A body of JSON or YAML.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) text: String,
    pub(crate) format: Format,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let format = content_format(request.headers())?;
        Ok(Self { text: read(request).await?, format })
    }
}

/// A body of JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if content_format(request.headers())? != Format::Json {
            return Err(Problem::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body of this request is JSON"));
        }
        let text = read(request).await?;
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| {
            let path = e.path().to_string();
            let error = Error::new(Code::RequestInvalid, format!("the body: {e}"));
            let error = if path == "." { error } else { error.with_path(path) };
            Problem::new(StatusCode::BAD_REQUEST, &error)
        })?;
        deserializer
            .end()
            .map_err(|e| Problem::request(StatusCode::BAD_REQUEST, format!("the body goes on after its JSON: {e}")))?;
        Ok(Self(value))
    }
}

fn content_format(headers: &HeaderMap) -> Result<Format, Problem> {
    let wrong = |what: &str| {
        let detail = format!("{what}; send application/json, or application/yaml for documents");
        Problem::request(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    };
    let media = headers.get(header::CONTENT_TYPE).ok_or_else(|| wrong("there is no Content-Type"))?;
    media.to_str().ok().and_then(Format::of).ok_or_else(|| wrong("the Content-Type is not known here"))
}

async fn read(request: Request) -> Result<String, Problem> {
    let too_large = || Problem::request(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY} bytes"));
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), MAX_BODY + 1)).await {
        Ok(Ok(bytes)) if bytes.len() > MAX_BODY => return Err(too_large()),
        Ok(Ok(bytes)) => bytes,
        Ok(Err(e)) if is_length_limit(&e) => return Err(too_large()),
        Ok(Err(e)) => {
            return Err(Problem::request(StatusCode::BAD_REQUEST, format!("the body cannot be read: {e}")));
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            return Err(Problem::request(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    String::from_utf8(bytes.into()).map_err(|_| Problem::request(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

/// Whether a body could not be read because it is longer than the limit.
pub(crate) fn is_length_limit(e: &axum::Error) -> bool {
    std::error::Error::source(e).is_some_and(|cause| cause.to_string().contains("length limit"))
}

/// The parameters in the path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found: Result<axum::extract::Path<T>, PathRejection> =
            axum::extract::Path::from_request_parts(parts, state).await;
        found
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|e| Problem::request(StatusCode::BAD_REQUEST, format!("the path: {}", e.body_text())))
    }
}

/// The parameters in the query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found: Result<axum::extract::Query<T>, QueryRejection> =
            axum::extract::Query::from_request_parts(parts, state).await;
        found
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|e| Problem::request(StatusCode::BAD_REQUEST, format!("the query: {}", e.body_text())))
    }
}

/// Who asks: left there by the authentication, which every route stands behind.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Error::new(Code::NotAuthenticated, "the request was not authenticated").into())
    }
}
