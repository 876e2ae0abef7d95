//! `/offsets` and `…/request`: where pipelines stand, and what operators ask of sources and pipelines.
//!
//! A request is stored at once and carried out by whoever serves the source or pipeline; its answer is waited for with
//! `wait`, or read later. Only one request of each is open at a time.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemas::documents::Name;
use schemas::offsets::PipelineOffsets;
use schemas::request::{Action, PipelineAction, SourceAction, Ticket};
use schemas::{Code, Error};
use serde::Deserialize;
use utoipa_axum::routes;

use super::extract::{self, Path, Query};
use super::problem::Problem;
use super::routes::Routes;
use crate::AdminContext;
use crate::control::{Caller, Control};

/// The longest wait for an answer.
const MAX_WAIT: u64 = 60;
/// A request that no worker takes within so long while somebody waits is withdrawn.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn routes() -> Routes {
    Routes::new()
        .viewer(routes!(all_offsets))
        .viewer(routes!(offsets))
        .viewer(routes!(of_pipeline))
        .viewer(routes!(of_source))
        .operator(routes!(ask_pipeline))
        .operator(routes!(ask_source))
}

/// How long to wait for the answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    #[serde(default)]
    wait: u64,
}

/// Where all pipelines stand: offsets with their times and places in the source.
#[utoipa::path(get, path = "/offsets", tag = "offsets", operation_id = "all_offsets",
    responses(
        (status = 200, description = "The pipelines, by name", body = ref("#/components/schemas/AllOffsets")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn all_offsets(State(context): State<AdminContext>) -> Result<Json<Vec<PipelineOffsets>>, Problem> {
    Ok(Json(context.control()?.offsets(None).await?))
}

/// Where a pipeline stands.
#[utoipa::path(get, path = "/pipelines/{name}/offsets", tag = "offsets", operation_id = "offsets",
    params(("name" = String, Path, description = "the pipeline's name")),
    responses(
        (status = 200, description = "The pipeline", body = ref("#/components/schemas/PipelineOffsets")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn offsets(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
) -> Result<Json<PipelineOffsets>, Problem> {
    known(&name)?;
    let found = context.control()?.offsets(Some(&name)).await?.into_iter().next();
    let absent = || Error::new(Code::NotFound, format!("there is no pipeline {name}"));
    Ok(Json(found.ok_or_else(absent)?))
}

/// The request asked last of a pipeline, and what became of it.
#[utoipa::path(get, path = "/pipelines/{name}/request", tag = "offsets", operation_id = "pipeline_request",
    params(("name" = String, Path, description = "the pipeline's name")),
    responses(
        (status = 200, description = "The request", body = ref("#/components/schemas/PipelineTicket")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn of_pipeline(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
) -> Result<Json<Ticket<PipelineAction>>, Problem> {
    Ok(Json(context.control()?.request(&name).await?))
}

/// The request asked last of a source, and what became of it.
#[utoipa::path(get, path = "/sources/{name}/request", tag = "offsets", operation_id = "source_request",
    params(("name" = String, Path, description = "the source's name")),
    responses(
        (status = 200, description = "The request", body = ref("#/components/schemas/SourceTicket")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn of_source(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
) -> Result<Json<Ticket<SourceAction>>, Problem> {
    Ok(Json(context.control()?.request(&name).await?))
}

/// Asks something of a pipeline: to go on from another position. It, or the table, must be paused.
#[utoipa::path(post, path = "/pipelines/{name}/request", tag = "offsets", operation_id = "ask_pipeline",
    params(
        ("name" = String, Path, description = "the pipeline's name"),
        ("wait" = Option<u64>, Query, description = "seconds to wait for the answer, at most 60"),
    ),
    request_body = ref("#/components/schemas/PipelineAction"),
    responses(
        (status = 200, description = "It is answered", body = ref("#/components/schemas/PipelineTicket")),
        (status = 202, description = "It is stored, or being carried out",
            body = ref("#/components/schemas/PipelineTicket")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn ask_pipeline(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(name): Path<String>,
    Query(wait): Query<Wait>,
    extract::Json(action): extract::Json<PipelineAction>,
) -> Result<(StatusCode, Json<Ticket<PipelineAction>>), Problem> {
    known(&name)?;
    let control = context.control()?;
    let ticket = control.ask_pipeline(&caller, &name, action).await?;
    answered(control, &caller, &name, ticket, wait.wait).await
}

/// Asks something of a source: to go on from another position, under a raised generation.
#[utoipa::path(post, path = "/sources/{name}/request", tag = "offsets", operation_id = "ask_source",
    params(
        ("name" = String, Path, description = "the source's name"),
        ("wait" = Option<u64>, Query, description = "seconds to wait for the answer, at most 60"),
    ),
    request_body = ref("#/components/schemas/SourceAction"),
    responses(
        (status = 200, description = "It is answered", body = ref("#/components/schemas/SourceTicket")),
        (status = 202, description = "It is stored, or being carried out",
            body = ref("#/components/schemas/SourceTicket")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn ask_source(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(name): Path<String>,
    Query(wait): Query<Wait>,
    extract::Json(action): extract::Json<SourceAction>,
) -> Result<(StatusCode, Json<Ticket<SourceAction>>), Problem> {
    known(&name)?;
    let control = context.control()?;
    let ticket = control.ask_source(&caller, &name, action).await?;
    answered(control, &caller, &name, ticket, wait.wait).await
}

/// Waits for the answer, if that is wanted; 202 while there is none.
async fn answered<A: Action>(
    control: &Control,
    caller: &Caller,
    name: &str,
    ticket: Ticket<A>,
    seconds: u64,
) -> Result<(StatusCode, Json<Ticket<A>>), Problem> {
    let wait = Duration::from_secs(seconds.min(MAX_WAIT));
    if wait.is_zero() {
        return Ok((StatusCode::ACCEPTED, Json(ticket)));
    }
    let answer = control.answer(caller, name, &ticket.request.id, PATIENCE);
    match tokio::time::timeout(wait, answer).await {
        Ok(answer) => Ok((StatusCode::OK, Json(answer?))),
        Err(_) => Ok((StatusCode::ACCEPTED, Json(ticket))),
    }
}

/// Names that no document can have are not worth a look into ZooKeeper.
fn known(name: &str) -> Result<(), Problem> {
    name.parse::<Name>().map(drop).map_err(|e| Error::new(Code::DocumentInvalid, e).with_path("name").into())
}
