//! The Schema Registry API under `/registry`, as Confluent's clients, Flink's and Apicurio's deserialisers and Kafka
//! Connect's converters ask for it, out of Otter's own registry in ZooKeeper.
//!
//! Every answer is JSON; a refusal is Confluent's `{"error_code": …, "message": …}` with Confluent's codes, since clients
//! decide by them. What Otter does not do is refused, never pretended: schemas other than Avro, references, checks of
//! compatibility (the level is NONE, and setting another is refused) and erasing for good (records carry the ids).
//! Where schemas are in a registry of the site's, every path answers 501 and says so.

mod answer;
mod apicurio;
mod ids;
mod settings;
mod subjects;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use coordination::Registry;

use self::answer::{Refusal, Wrong};
use crate::Services;
use crate::api::extract::is_length_limit;
use crate::control::Control;

/// The largest body that is read, in bytes: a schema that fits into a node, escaped as JSON.
const MAX_BODY: usize = 2 << 20;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// The routes, relative to where they are nested.
pub(crate) fn router(services: Services) -> Router {
    let shared = Shared { services };
    let subject = "/subjects/{subject}";
    let version = "/subjects/{subject}/versions/{version}";
    Router::new()
        .route("/", get(async || answer::json(serde_json::json!({}))))
        .route("/schemas/types", get(settings::types))
        .route("/schemas/ids/{id}", get(ids::schema))
        .route("/schemas/ids/{id}/schema", get(ids::text))
        .route("/schemas/ids/{id}/subjects", get(ids::subjects))
        .route("/schemas/ids/{id}/versions", get(ids::versions))
        .route("/subjects", get(subjects::list))
        .route(subject, post(subjects::lookup).delete(subjects::hide))
        .route(&format!("{subject}/versions"), get(subjects::versions).post(subjects::register))
        .route(version, get(subjects::version).delete(subjects::hide_version))
        .route(&format!("{version}/schema"), get(subjects::text))
        .route(&format!("{version}/referencedby"), get(subjects::referenced_by))
        .route("/compatibility/subjects/{subject}/versions", post(settings::compatible))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(settings::compatible_with))
        .route("/config", get(settings::level).put(settings::set_level))
        .route("/config/{subject}", get(settings::level_of).put(settings::set_level).delete(settings::unset_level))
        .route("/mode", get(settings::mode).put(settings::set_mode))
        .route("/mode/{subject}", get(settings::mode).put(settings::set_mode))
        .nest("/apis/registry/v2", apicurio::router())
        .fallback(async || Refusal::new(Wrong::Path, "there is no such path in the schema registry's API"))
        .method_not_allowed_fallback(async || Refusal::new(Wrong::Method, "this path does not take that method"))
        .layer(middleware::from_fn_with_state(shared.clone(), ready))
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}

/// What the handlers work on.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    services: Services,
}

impl Shared {
    /// What carries out requests.
    ///
    /// # Errors
    /// 503 before ZooKeeper was reached for the first time.
    fn control(&self) -> Result<&Control, Refusal> {
        self.services.control().ok_or_else(not_yet)
    }

    /// The registry.
    ///
    /// # Errors
    /// 503 before ZooKeeper was reached for the first time.
    fn registry(&self) -> Result<Registry, Refusal> {
        self.control().map(|control| control.coordination().registry())
    }
}

fn not_yet() -> Refusal {
    Refusal::new(Wrong::Store, "this process has not reached ZooKeeper yet")
}

/// The request with its body here, of bounded size and in bounded time.
async fn whole(request: Request) -> Result<Request, Refusal> {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(PATIENCE, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(e)) if is_length_limit(&e) => {
            Err(Refusal::new(Wrong::BodySize, format!("a body has at most {MAX_BODY} bytes")))
        }
        Ok(Err(e)) => Err(Refusal::new(Wrong::Request, format!("the body cannot be read: {e}"))),
        Err(_) => {
            let message = format!("the body did not arrive within {} s", PATIENCE.as_secs());
            Err(Refusal::new(Wrong::Time, message))
        }
    }
}

/// Refuses everything as long as there is nothing to answer from.
async fn ready(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match shared.control() {
        Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, refusal).into_response(),
        Ok(control) if control.coordination().has_external_registry() => {
            let message = "this installation keeps its schemas in an external registry; ask that one";
            Refusal::new(Wrong::Elsewhere, message).into_response()
        }
        Ok(_) => match whole(request).await {
            Ok(request) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        },
    }
}
