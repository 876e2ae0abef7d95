//! Levels of compatibility, modes and types: what there is to configure in other registries, and is fixed here.
//!
//! The level is NONE everywhere: a schema comes from an ALTER that has already happened, so refusing it would only stop the
//! table. Under NONE every schema that can be read is compatible, and that is what the checks answer.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::answer::{self, Refusal, Wrong, switch};
use super::subjects::{SchemaBody, find};

type Body = Result<Bytes, BytesRejection>;
type Subject = Result<Path<String>, PathRejection>;

const LEVEL: &str = "NONE";
const MODE: &str = "READWRITE";

#[derive(Debug, Deserialize)]
pub(super) struct LevelQuery {
    #[serde(rename = "defaultToGlobal")]
    default_to_global: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LevelBody {
    compatibility: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ModeBody {
    mode: Option<String>,
}

/// `GET /schemas/types`
pub(super) async fn types() -> Response {
    answer::json(["AVRO"])
}

/// `GET /config`
pub(super) async fn level() -> Response {
    answer::json(json!({ "compatibilityLevel": LEVEL }))
}

/// `GET /config/{subject}`: every subject that there is has the one level.
pub(super) async fn level_of(
    State(shared): State<Shared>,
    subject: Subject,
    query: Result<Query<LevelQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let subject = subject?.0;
    let known = shared.registry()?.versions(&subject).await?.iter().any(|v| !v.deleted);
    if known || switch(query?.0.default_to_global.as_deref()) {
        return Ok(level().await);
    }
    let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
    Err(Refusal::new(Wrong::Level, message))
}

/// `PUT /config`, `PUT /config/{subject}`: to what it is already.
pub(super) async fn set_level(headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let body: LevelBody = answer::body(&headers, body)?;
    match body.compatibility {
        Some(level) if level.eq_ignore_ascii_case(LEVEL) => Ok(answer::json(json!({ "compatibility": LEVEL }))),
        _ => {
            let message = "Invalid compatibility level: this registry does not check compatibility, the level is NONE";
            Err(Refusal::new(Wrong::InvalidLevel, message))
        }
    }
}

/// `DELETE /config/{subject}`: back to the level of all.
pub(super) async fn unset_level(State(shared): State<Shared>, subject: Subject) -> Result<Response, Refusal> {
    let subject = subject?.0;
    match shared.registry()?.versions(&subject).await?.iter().any(|v| !v.deleted) {
        true => Ok(level().await),
        false => Err(Refusal::subject(&subject)),
    }
}

/// `GET /mode`, `GET /mode/{subject}`
pub(super) async fn mode() -> Response {
    answer::json(json!({ "mode": MODE }))
}

/// `PUT /mode`, `PUT /mode/{subject}`: to what it is already.
pub(super) async fn set_mode(headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let body: ModeBody = answer::body(&headers, body)?;
    match body.mode {
        Some(mode) if mode.eq_ignore_ascii_case(MODE) => Ok(answer::json(json!({ "mode": MODE }))),
        _ => Err(Refusal::new(Wrong::InvalidMode, "Invalid mode: this registry's mode is always READWRITE")),
    }
}

/// `POST /compatibility/subjects/{subject}/versions`
pub(super) async fn compatible(headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    answer::body::<SchemaBody>(&headers, body)?.read()?;
    Ok(answer::json(json!({ "is_compatible": true })))
}

/// `POST /compatibility/subjects/{subject}/versions/{version}`
pub(super) async fn compatible_with(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (subject, version) = path?.0;
    answer::body::<SchemaBody>(&headers, body)?.read()?;
    match find(&shared.registry()?, &subject, &version, false).await {
        Ok(_) => Ok(answer::json(json!({ "is_compatible": true }))),
        // Nothing to be compatible with: Confluent's registry says yes as well.
        Err(refusal) if version == "latest" && refusal.is(Wrong::Subject) => {
            Ok(answer::json(json!({ "is_compatible": true })))
        }
        Err(refusal) => Err(refusal),
    }
}
