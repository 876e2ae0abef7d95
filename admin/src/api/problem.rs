//! Errors as the API gives them: `application/problem+json` (RFC 9457) with the code and its remedy.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use schemas::{Code, Error, Reaction};
use serde::{Deserialize, Serialize};

/// How to authenticate, for 401.
const CHALLENGES: [&str; 2] = ["Bearer realm=\"otter\"", "Basic realm=\"otter\", charset=\"UTF-8\""];
/// When to ask again, in seconds.
const SOON: u32 = 2;
/// The same, after too many wrong tokens.
const LATER: u32 = 60;

/// What went wrong.
// Its texts are boxed, so that results which can hold one stay small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub about: Box<str>,
    /// What the code stands for.
    pub title: Box<str>,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: Box<str>,
    /// The code, such as `OT1001`.
    pub code: Box<str>,
    /// What to do about it.
    pub remedy: Box<str>,
    /// Where in the body it is wrong, such as `mappings[0].to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Box<str>>,
}

impl Problem {
    /// An error under a given status.
    pub fn new(status: StatusCode, error: &Error) -> Self {
        let code = error.code();
        Self {
            about: code_link(code).into(),
            title: code.title().into(),
            status: status.as_u16(),
            detail: error.message().into(),
            code: code.id().into(),
            remedy: code.remedy().into(),
            path: error.path().map(Into::into),
        }
    }

    /// `OT1024` under a given status.
    pub fn request(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::new(status, &Error::new(Code::RequestInvalid, detail))
    }
}

/// Where the API explains a code.
pub fn code_link(code: Code) -> String {
    format!("/api/v1/codes/{}", code.id())
}

/// The status that says best what a code means; the code says it exactly.
pub fn status_of(code: Code) -> StatusCode {
    match code {
        Code::NotAuthenticated => StatusCode::UNAUTHORIZED,
        Code::NotAllowed => StatusCode::FORBIDDEN,
        Code::NotFound | Code::NoSuchRoute => StatusCode::NOT_FOUND,
        Code::RequestInvalid => StatusCode::BAD_REQUEST,
        Code::VersionConflict | Code::StillReferenced | Code::TokenExists | Code::RequestOpen => StatusCode::CONFLICT,
        Code::DocumentTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::TooManyAttempts => StatusCode::TOO_MANY_REQUESTS,
        Code::RoleFailed | Code::NodeInvalid | Code::ZooKeeperRefused => StatusCode::INTERNAL_SERVER_ERROR,
        code if code.reaction() == Reaction::Retry => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(status_of(error.code()), &error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = (status, Json(self)).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                for challenge in CHALLENGES {
                    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            StatusCode::TOO_MANY_REQUESTS => drop(headers.insert(header::RETRY_AFTER, LATER.into())),
            StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(header::RETRY_AFTER, SOON.into())),
            _ => {}
        }
        answer
    }
}
