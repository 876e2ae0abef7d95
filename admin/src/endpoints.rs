//! The routes of every role and how they are put together with the API.

use std::any::Any;
use std::sync::PoisonError;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use schemas::{Code, Error};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::error;

use crate::api::problem::Problem;
use crate::{AdminContext, Readiness, api, auth, registry};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn router(context: AdminContext) -> Router {
    // The probes say nothing about the inside, so they are for everybody.
    let mut open = Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz));
    let mut guarded = Router::new().route("/status", get(status));
    if context.open_metrics {
        open = open.route("/metrics", get(metrics));
    } else {
        guarded = guarded.route("/metrics", get(metrics));
    }
    if context.admin {
        let registry = registry::router(context.services.clone()).layer(from_fn(auth::registry_role));
        guarded = guarded.merge(api::router()).nest_service("/registry", registry);
    }
    guarded
        .fallback(api::no_such_route)
        .method_not_allowed_fallback(api::no_such_method)
        .layer(from_fn_with_state(context.clone(), auth::authenticate))
        .merge(open.method_not_allowed_fallback(api::no_such_method))
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(context)
}

/// The panic's text may hold anything, so it goes to the log's panic message only.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    error!("a request panicked; its answer is 500");
    Problem::from(Error::new(Code::RoleFailed, "the request failed by an error of Otter's own")).into_response()
}

async fn readyz(State(context): State<AdminContext>) -> (StatusCode, &'static str) {
    match *context.ready.borrow() {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Starting | Readiness::Waiting(_) | Readiness::Draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
        }
    }
}

async fn status(State(context): State<AdminContext>) -> Json<schemas::status::WorkerStatus> {
    Json(context.status.snapshot())
}

async fn metrics(State(context): State<AdminContext>) -> Response {
    let mut text = String::new();
    // A panic elsewhere while it was locked leaves at worst a family missing.
    let registry = context.metrics.lock().unwrap_or_else(PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("the metrics cannot be encoded: {e}\n")).into_response(),
    }
}
