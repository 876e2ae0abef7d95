//! The few paths of Apicurio's own API (version 2) that its deserialisers ask: content by id, under either of the names
//! that Apicurio has for ids, and the references of a schema, of which there are none.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;

use super::Shared;
use super::answer::{self, Refusal};
use super::ids::find;

type Id = Result<Path<String>, PathRejection>;

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/ids/globalIds/{id}", get(content))
        .route("/ids/globalIds/{id}/", get(content))
        .route("/ids/globalIds/{id}/references", get(references))
        .route("/ids/contentIds/{id}", get(content))
        .route("/ids/contentIds/{id}/", get(content))
        .route("/ids/contentIds/{id}/references", get(references))
}

async fn content(State(shared): State<Shared>, id: Id) -> Result<Response, Refusal> {
    Ok(answer::text(&find(&shared, id).await?.schema))
}

async fn references(State(shared): State<Shared>, id: Id) -> Result<Response, Refusal> {
    find(&shared, id).await?;
    Ok(answer::json(Vec::<u32>::new()))
}
