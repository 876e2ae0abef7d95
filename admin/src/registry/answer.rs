//! Answers and refusals in the forms that clients of a schema registry know, and how requests are read.

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::Code;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The content type of answers.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// The content types that bodies may have.
const BODIES: [&str; 4] =
    [CONTENT_TYPE, "application/vnd.schemaregistry+json", "application/json", "application/octet-stream"];

/// A good answer.
pub(super) fn json(body: impl Serialize) -> Response {
    typed(StatusCode::OK, body)
}

/// A schema's text as it is.
pub(super) fn text(schema: &str) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE))], schema.to_owned()).into_response()
}

fn typed(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// What is wrong, in Confluent's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The request as such.
    Request,
    /// No such path.
    Path,
    /// No such method.
    Method,
    /// A body that does not arrive in time.
    Time,
    /// A body of another kind.
    BodyType,
    /// A body that is too large.
    BodySize,
    /// No such subject.
    Subject,
    /// No such version.
    Version,
    /// No such schema.
    Schema,
    /// The subject has no level of its own.
    Level,
    /// Not a schema that can be registered.
    InvalidSchema,
    /// Not a version.
    InvalidVersion,
    /// Not a level that can be set.
    InvalidLevel,
    /// Not a mode that can be set.
    InvalidMode,
    /// Not allowed here.
    NotPermitted,
    /// Not a subject's name.
    InvalidSubject,
    /// More than fits.
    SchemaSize,
    /// ZooKeeper does not answer, or answers nonsense.
    Store,
    /// Schemas are somewhere else.
    Elsewhere,
}

impl Wrong {
    fn code(self) -> (StatusCode, u32) {
        use StatusCode as S;
        match self {
            Self::Request => (S::BAD_REQUEST, 400),
            Self::Path => (S::NOT_FOUND, 404),
            Self::Method => (S::METHOD_NOT_ALLOWED, 405),
            Self::Time => (S::REQUEST_TIMEOUT, 408),
            Self::BodyType => (S::UNSUPPORTED_MEDIA_TYPE, 415),
            Self::BodySize => (S::PAYLOAD_TOO_LARGE, 413),
            Self::Subject => (S::NOT_FOUND, 40401),
            Self::Version => (S::NOT_FOUND, 40402),
            Self::Schema => (S::NOT_FOUND, 40403),
            Self::Level => (S::NOT_FOUND, 40408),
            Self::InvalidSchema => (S::UNPROCESSABLE_ENTITY, 42201),
            Self::InvalidVersion => (S::UNPROCESSABLE_ENTITY, 42202),
            Self::InvalidLevel => (S::UNPROCESSABLE_ENTITY, 42203),
            Self::InvalidMode => (S::UNPROCESSABLE_ENTITY, 42204),
            Self::NotPermitted => (S::UNPROCESSABLE_ENTITY, 42205),
            Self::InvalidSubject => (S::UNPROCESSABLE_ENTITY, 42208),
            Self::SchemaSize => (S::UNPROCESSABLE_ENTITY, 42209),
            Self::Store => (S::INTERNAL_SERVER_ERROR, 50001),
            Self::Elsewhere => (S::NOT_IMPLEMENTED, 501),
        }
    }
}

/// A refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    wrong: Wrong,
    message: String,
}

impl Refusal {
    pub(super) fn new(wrong: Wrong, message: impl Into<String>) -> Self {
        Self { wrong, message: message.into() }
    }

    /// Whether it is for this reason.
    pub(super) fn is(&self, wrong: Wrong) -> bool {
        self.wrong == wrong
    }

    pub(super) fn subject(subject: &str) -> Self {
        Self::new(Wrong::Subject, format!("Subject '{subject}' not found."))
    }

    pub(super) fn version(version: u32) -> Self {
        Self::new(Wrong::Version, format!("Version {version} not found."))
    }

    pub(super) fn schema() -> Self {
        Self::new(Wrong::Schema, "Schema not found")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error_code) = self.wrong.code();
        typed(status, serde_json::json!({ "error_code": error_code, "message": self.message }))
    }
}

impl From<schemas::Error> for Refusal {
    fn from(e: schemas::Error) -> Self {
        match e.code() {
            Code::SchemaUnknown => Self::schema(),
            Code::DocumentTooLarge => Self::new(Wrong::SchemaSize, e.message()),
            _ => Self::new(Wrong::Store, e.to_string()),
        }
    }
}

impl From<PathRejection> for Refusal {
    fn from(e: PathRejection) -> Self {
        Self::new(Wrong::Request, e.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(e: QueryRejection) -> Self {
        Self::new(Wrong::Request, e.body_text())
    }
}

/// Reads a body of JSON.
pub(super) fn body<T: DeserializeOwned>(
    headers: &HeaderMap,
    bytes: Result<axum::body::Bytes, BytesRejection>,
) -> Result<T, Refusal> {
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let kind = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !BODIES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(Refusal::new(Wrong::BodyType, format!("a body is {CONTENT_TYPE} or application/json")));
        }
    }
    let bytes = bytes.map_err(|e| {
        let wrong = if e.status() == StatusCode::PAYLOAD_TOO_LARGE { Wrong::BodySize } else { Wrong::Request };
        Refusal::new(wrong, e.body_text())
    })?;
    // Through a value: a member given twice is then taken as its last, as Confluent's registry does.
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| Refusal::new(Wrong::Request, e.to_string()))?;
    if !value.is_object() {
        return Err(Refusal::new(Wrong::Request, "the body is not a JSON object"));
    }
    serde_json::from_value(value).map_err(|e| Refusal::new(Wrong::Request, e.to_string()))
}

/// A switch in a query: `?deleted=true`, as Java reads it.
pub(super) fn switch(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
