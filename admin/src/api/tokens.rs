//! `/tokens`: made, listed, revoked. A token's text is in the answer that makes it and nowhere else.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use coordination::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::{self, Path};
use super::problem::Problem;
use super::routes::Routes;
use crate::AdminContext;
use crate::control::Caller;
use crate::control::tokens::TokenInfo;

pub(super) fn routes() -> Routes {
    Routes::new().admin(routes!(list)).admin(routes!(create)).admin(routes!(revoke))
}

/// A token that is wanted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// Its name, for people and the audit trail: as a document's.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
}

/// The tokens, without their texts.
#[utoipa::path(get, path = "/tokens", tag = "tokens", operation_id = "tokens",
    responses(
        (status = 200, description = "The tokens", body = ref("#/components/schemas/Tokens")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn list(State(context): State<AdminContext>) -> Result<Json<Vec<TokenInfo>>, Problem> {
    Ok(Json(context.control()?.tokens().await?))
}

/// Makes a token. Its text is in this answer only.
#[utoipa::path(post, path = "/tokens", tag = "tokens", operation_id = "create_token",
    request_body = ref("#/components/schemas/TokenWanted"),
    responses(
        (status = 201, description = "The token", body = ref("#/components/schemas/NewToken")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn create(
    State(context): State<AdminContext>,
    caller: Caller,
    extract::Json(wanted): extract::Json<TokenWanted>,
) -> Result<impl IntoResponse, Problem> {
    let token = context.control()?.create_token(&caller, &wanted.name, wanted.role).await?;
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(token)))
}

/// Revokes a token, by id or name.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", operation_id = "revoke_token",
    params(("id" = String, Path, description = "the token's id, or its name")),
    responses(
        (status = 200, description = "It is revoked", body = ref("#/components/schemas/TokenInfo")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn revoke(
    State(context): State<AdminContext>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<TokenInfo>, Problem> {
    Ok(Json(context.control()?.revoke_token(&caller, &id).await?))
}
