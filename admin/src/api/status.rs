//! `/status`, `/sources`, `/pipelines`, `/workers`: what the workers say, put together; and pausing.

use axum::Json;
use axum::extract::State;
use schemas::documents::{Kind, State as Running};
use schemas::{Code, Error};
use serde::Deserialize;
use utoipa_axum::routes;

use super::extract::{Path, Query};
use super::problem::Problem;
use super::routes::Routes;
use crate::AdminContext;
use crate::control::Caller;
use crate::control::documents::StateSet;
use crate::control::status::{Pipeline, Source, Status, Worker};

pub(super) fn routes() -> Routes {
    Routes::new()
        .viewer(routes!(everything))
        .viewer(routes!(sources))
        .viewer(routes!(source))
        .viewer(routes!(pipelines))
        .viewer(routes!(pipeline))
        .viewer(routes!(workers))
        .operator(routes!(pause))
        .operator(routes!(resume))
}

/// What of a pipeline.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    table: Option<String>,
}

/// Everything: workers, sources, pipelines.
#[utoipa::path(get, path = "/status", tag = "status", operation_id = "status",
    responses(
        (status = 200, description = "The state of the installation", body = ref("#/components/schemas/Status")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn everything(State(context): State<AdminContext>, caller: Caller) -> Result<Json<Status>, Problem> {
    Ok(Json(context.control()?.status(&caller).await?))
}

/// The sources: state, position, lag, rows, errors.
#[utoipa::path(get, path = "/sources", tag = "status", operation_id = "sources",
    responses(
        (status = 200, description = "The sources, by name", body = ref("#/components/schemas/Sources")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn sources(State(context): State<AdminContext>, caller: Caller) -> Result<Json<Vec<Source>>, Problem> {
    Ok(Json(context.control()?.status(&caller).await?.sources))
}

/// One source.
#[utoipa::path(get, path = "/sources/{name}", tag = "status", operation_id = "source",
    params(("name" = String, Path, description = "the source's name")),
    responses(
        (status = 200, description = "The source", body = ref("#/components/schemas/SourceReport")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn source(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Source>, Problem> {
    let status = context.control()?.status(&caller).await?;
    one(status.sources, |s| s.status.name == name, Kind::Source, &name)
}

/// The pipelines: state, lanes with their offsets, lag in milliseconds and events, rows, errors.
#[utoipa::path(get, path = "/pipelines", tag = "status", operation_id = "pipelines",
    responses(
        (status = 200, description = "The pipelines, by name", body = ref("#/components/schemas/Pipelines")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn pipelines(State(context): State<AdminContext>, caller: Caller) -> Result<Json<Vec<Pipeline>>, Problem> {
    Ok(Json(context.control()?.status(&caller).await?.pipelines))
}

/// One pipeline.
#[utoipa::path(get, path = "/pipelines/{name}", tag = "status", operation_id = "pipeline",
    params(("name" = String, Path, description = "the pipeline's name")),
    responses(
        (status = 200, description = "The pipeline", body = ref("#/components/schemas/PipelineReport")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn pipeline(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Pipeline>, Problem> {
    let status = context.control()?.status(&caller).await?;
    one(status.pipelines, |p| p.name == name, Kind::Pipeline, &name)
}

/// The workers that are alive.
#[utoipa::path(get, path = "/workers", tag = "status", operation_id = "workers",
    responses(
        (status = 200, description = "The workers, by id", body = ref("#/components/schemas/Workers")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn workers(State(context): State<AdminContext>, caller: Caller) -> Result<Json<Vec<Worker>>, Problem> {
    Ok(Json(context.control()?.status(&caller).await?.workers))
}

/// Lets a pipeline, or one table of it, stand still; it keeps its progress.
#[utoipa::path(post, path = "/pipelines/{name}/pause", tag = "pipelines", operation_id = "pause",
    params(
        ("name" = String, Path, description = "the pipeline's name"),
        ("table" = Option<String>, Query, description = "only the mapping whose `from` this is, such as shop.tb_user"),
    ),
    responses(
        (status = 200, description = "It is paused", body = ref("#/components/schemas/StateSet")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn pause(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<StateSet>, Problem> {
    let table = part.table.as_deref();
    Ok(Json(context.control()?.set_state(&caller, &name, table, Running::Paused).await?))
}

/// Lets a paused pipeline, or a paused table of it, go on.
#[utoipa::path(post, path = "/pipelines/{name}/resume", tag = "pipelines", operation_id = "resume",
    params(
        ("name" = String, Path, description = "the pipeline's name"),
        ("table" = Option<String>, Query, description = "only the mapping whose `from` this is, such as shop.tb_user"),
    ),
    responses(
        (status = 200, description = "It runs", body = ref("#/components/schemas/StateSet")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn resume(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(name): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<StateSet>, Problem> {
    let table = part.table.as_deref();
    Ok(Json(context.control()?.set_state(&caller, &name, table, Running::Running).await?))
}

fn one<T>(all: Vec<T>, wanted: impl Fn(&T) -> bool, kind: Kind, name: &str) -> Result<Json<T>, Problem> {
    let found = all.into_iter().find(wanted);
    found.map(Json).ok_or_else(|| Error::new(Code::NotFound, format!("there is no {kind} {name:?}")).into())
}
