//! The routes and their answers.

use std::sync::PoisonError;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::{AdminContext, Readiness, registry};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn router(context: AdminContext) -> Router {
    let registry = context.coordination.clone().map(registry::router);
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /healthz, /readyz, /metrics and /status\n"))
        .with_state(context);
    match registry {
        Some(registry) => router.nest("/registry", registry),
        None => router,
    }
}

async fn readyz(State(context): State<AdminContext>) -> (StatusCode, String) {
    let readiness = context.ready.borrow().clone();
    let (status, text) = match readiness {
        Readiness::Ready => (StatusCode::OK, "ready".to_owned()),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned()),
        Readiness::Waiting(what) => (StatusCode::SERVICE_UNAVAILABLE, format!("waiting: {what}")),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned()),
    };
    (status, text + "\n")
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
