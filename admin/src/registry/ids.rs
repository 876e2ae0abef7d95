//! Schemas by id: what deserialisers ask for.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use coordination::Registered;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::answer::{self, Refusal, Wrong, switch};

type Id = Result<Path<String>, PathRejection>;
type Asked = Result<Query<IdQuery>, QueryRejection>;

#[derive(Debug, Deserialize)]
pub(super) struct IdQuery {
    #[serde(rename = "fetchMaxId")]
    fetch_max_id: Option<String>,
    deleted: Option<String>,
    /// Narrows `/subjects` and `/versions`. At `/schemas/ids/{id}` it chooses among contexts, of which there is one.
    subject: Option<String>,
    format: Option<String>,
}

/// `GET /schemas/ids/{id}`
pub(super) async fn schema(State(shared): State<Shared>, id: Id, query: Asked) -> Result<Response, Refusal> {
    let (found, query) = (find(&shared, id).await?, query?.0);
    plain(query.format.as_deref())?;
    let mut body = json!({ "schema": found.schema });
    if switch(query.fetch_max_id.as_deref()) {
        body["maxId"] = json!(shared.registry()?.highest_id().await?);
    }
    Ok(answer::json(body))
}

/// `GET /schemas/ids/{id}/schema`
pub(super) async fn text(State(shared): State<Shared>, id: Id, query: Asked) -> Result<Response, Refusal> {
    plain(query?.0.format.as_deref())?;
    Ok(answer::text(&find(&shared, id).await?.schema))
}

/// `GET /schemas/ids/{id}/subjects`
pub(super) async fn subjects(State(shared): State<Shared>, id: Id, query: Asked) -> Result<Response, Refusal> {
    let mut subjects: Vec<_> = uses(&shared, id, query?.0).await?.into_iter().map(|(subject, _)| subject).collect();
    subjects.dedup();
    Ok(answer::json(subjects))
}

/// `GET /schemas/ids/{id}/versions`
pub(super) async fn versions(State(shared): State<Shared>, id: Id, query: Asked) -> Result<Response, Refusal> {
    let uses = uses(&shared, id, query?.0).await?;
    let list = uses.iter().map(|(subject, version)| json!({ "subject": subject, "version": version }));
    Ok(answer::json(list.collect::<Vec<_>>()))
}

/// The subject and versions of an id: an id belongs to the one subject that it was given out for.
async fn uses(shared: &Shared, id: Id, query: IdQuery) -> Result<Vec<(String, u32)>, Refusal> {
    let number = number(&id?.0)?;
    let registry = shared.registry()?;
    let found = registry.registered(number).await?.ok_or_else(Refusal::schema)?;
    if query.subject.is_some_and(|only| only != found.subject) {
        return Ok(Vec::new());
    }
    let deleted = switch(query.deleted.as_deref());
    let versions = registry.versions(&found.subject).await?;
    let of_id = versions.into_iter().filter(|v| v.id == number && (deleted || !v.deleted));
    Ok(of_id.map(|v| (found.subject.clone(), v.version)).collect())
}

pub(super) async fn find(shared: &Shared, id: Id) -> Result<Registered, Refusal> {
    let id = number(&id?.0)?;
    shared.registry()?.registered(id).await?.ok_or_else(Refusal::schema)
}

fn number(id: &str) -> Result<u32, Refusal> {
    let all_digits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
    match id.parse::<u32>() {
        Ok(id) => Ok(id),
        // A number that no id can be.
        Err(_) if all_digits => Err(Refusal::schema()),
        Err(_) => Err(Refusal::new(Wrong::Request, "an id is a number")),
    }
}

/// Schemas have no references to resolve; other rewritings are not made.
pub(super) fn plain(format: Option<&str>) -> Result<(), Refusal> {
    match format {
        None | Some("" | "default" | "serialized" | "resolved") => Ok(()),
        Some(_) => {
            Err(Refusal::new(Wrong::Request, "schemas are answered as they were registered: leave out `format`"))
        }
    }
}
