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

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use coordination::{Coordination, Registry};

use self::answer::{Refusal, Wrong};

/// The largest body that is read, in bytes: a schema that fits into a node, escaped as JSON.
const MAX_BODY: usize = 2 << 20;

/// The connection to ZooKeeper, as soon as there is one.
pub(crate) type Late = Arc<OnceLock<Coordination>>;

/// The routes, relative to where they are nested.
pub(crate) fn router(coordination: Late) -> Router {
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
        .layer(middleware::from_fn_with_state(Arc::clone(&coordination), ready))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Shared { coordination })
}

/// What the handlers work on.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    coordination: Late,
}

impl Shared {
    /// The registry.
    ///
    /// # Errors
    /// 503 before ZooKeeper was reached for the first time.
    fn registry(&self) -> Result<Registry, Refusal> {
        self.coordination.get().map(Coordination::registry).ok_or_else(not_yet)
    }
}

fn not_yet() -> Refusal {
    Refusal::new(Wrong::Store, "this process has not reached ZooKeeper yet")
}

/// Refuses everything as long as there is nothing to answer from.
async fn ready(State(coordination): State<Late>, request: Request, next: Next) -> Response {
    match coordination.get() {
        None => (StatusCode::SERVICE_UNAVAILABLE, not_yet()).into_response(),
        Some(found) if found.has_external_registry() => {
            let message = "this installation keeps its schemas in an external registry; ask that one";
            Refusal::new(Wrong::Elsewhere, message).into_response()
        }
        Some(_) => next.run(request).await,
    }
}
