//! `/codes`: what the codes mean.

use axum::Json;
use schemars::JsonSchema;
use schemas::{Code, Error};
use serde::{Deserialize, Serialize};
use utoipa_axum::routes;

use super::extract::Path;
use super::problem::Problem;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().viewer(routes!(all)).viewer(routes!(one))
}

/// A code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeInfo {
    /// Such as `OT1001`.
    pub code: String,
    /// What it stands for.
    pub title: String,
    /// How Otter reacts: `retry`, `pause table` or `stop`.
    pub reaction: String,
    /// What to do about it.
    pub remedy: String,
    /// All about it, in Markdown; in the answer about one code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
}

impl CodeInfo {
    fn of(code: Code) -> Self {
        Self {
            code: code.id().to_owned(),
            title: code.title().to_owned(),
            reaction: code.reaction().name().to_owned(),
            remedy: code.remedy().to_owned(),
            page: None,
        }
    }
}

/// All codes.
#[utoipa::path(get, path = "/codes", tag = "codes", operation_id = "codes",
    responses(
        (status = 200, description = "The codes", body = ref("#/components/schemas/Codes")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn all() -> Json<Vec<CodeInfo>> {
    Json(Code::ALL.iter().copied().map(CodeInfo::of).collect())
}

/// One code, with its page.
#[utoipa::path(get, path = "/codes/{id}", tag = "codes", operation_id = "code",
    params(("id" = String, Path, description = "such as OT1001")),
    responses(
        (status = 200, description = "The code", body = ref("#/components/schemas/CodeInfo")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn one(Path(id): Path<String>) -> Result<Json<CodeInfo>, Problem> {
    let code = Code::from_id(&id).ok_or_else(|| Error::new(Code::NotFound, format!("there is no code {id:?}")))?;
    Ok(Json(CodeInfo { page: Some(code.page().to_owned()), ..CodeInfo::of(code) }))
}
