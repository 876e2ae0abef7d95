//! `/check`: documents looked at on their own, together and against their servers.

use axum::Json;
use axum::extract::State;
use schemas::check::Finding;
use serde::Deserialize;
use utoipa_axum::routes;

use super::documents::parse_kind;
use super::extract::{Path, Query};
use super::problem::Problem;
use super::routes::Routes;
use crate::AdminContext;
use crate::control::Selection;

pub(super) fn routes() -> Routes {
    Routes::new().operator(routes!(all)).operator(routes!(one))
}

/// Which documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    kind: Option<String>,
}

/// Checks all documents, or those of a kind.
#[utoipa::path(post, path = "/check", tag = "check", operation_id = "check",
    params(("kind" = Option<String>, Query, description = "source, target or pipeline")),
    responses(
        (status = 200, description = "What was found, good and bad", body = ref("#/components/schemas/Findings")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn all(State(context): State<AdminContext>, Query(filter): Query<Filter>) -> Result<Json<Vec<Finding>>, Problem> {
    let kind = filter.kind.map(|kind| parse_kind(&kind)).transpose()?;
    Ok(Json(context.control()?.check(&Selection { kind, name: None }).await?))
}

/// Checks one document.
#[utoipa::path(post, path = "/check/{kind}/{name}", tag = "check", operation_id = "check_document",
    params(
        ("kind" = String, Path, description = "source, target or pipeline"),
        ("name" = String, Path, description = "the document's name"),
    ),
    responses(
        (status = 200, description = "What was found, good and bad", body = ref("#/components/schemas/Findings")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn one(
    State(context): State<AdminContext>,
    Path((kind, name)): Path<(String, String)>,
) -> Result<Json<Vec<Finding>>, Problem> {
    Ok(Json(context.control()?.check(&Selection::one(parse_kind(&kind)?, name)).await?))
}
