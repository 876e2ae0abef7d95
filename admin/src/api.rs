//! The HTTP API, `/api/v1`: one file a resource, each with its own routes.
//!
//! A resource's file has `routes()`, made of `routes::Routes`, so that no route exists without a role and without
//! its part of the OpenAPI document. Bodies are described by their Rust types (schemars), paths by utoipa.

mod check;
mod codes;
mod documents;
pub(crate) mod extract;
mod openapi;
pub mod problem;
mod requests;
pub(crate) mod routes;
mod status;
mod tokens;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use schemas::{Code, Error};
use utoipa_axum::router::OpenApiRouter;

use crate::AdminContext;
use problem::Problem;
use routes::Routes;

pub use codes::CodeInfo;
pub use extract::MAX_BODY;
pub use openapi::document;
pub use tokens::TokenWanted;

/// Below what the API is.
pub const BASE: &str = "/api/v1";

/// The API with its OpenAPI document, which is one of its routes.
pub(crate) fn router() -> Router<AdminContext> {
    let (router, _) = described().split_for_parts();
    router
}

/// All routes, with their descriptions.
fn described() -> OpenApiRouter<AdminContext> {
    Routes::new()
        .merge(documents::routes())
        .merge(status::routes())
        .merge(requests::routes())
        .merge(check::routes())
        .merge(codes::routes())
        .merge(tokens::routes())
        .merge(openapi::routes())
        .nest(BASE)
}

/// For what no route matches.
pub(crate) async fn no_such_route(method: Method, uri: Uri) -> Problem {
    let detail = format!("there is no {method} {}", uri.path().chars().take(200).collect::<String>());
    Error::new(Code::NoSuchRoute, detail).into()
}

/// For a path that has other methods.
pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} has no {method}", uri.path().chars().take(200).collect::<String>());
    Problem::request(StatusCode::METHOD_NOT_ALLOWED, detail)
}
