//! `/documents`: read, put, deleted, with `ETag` and `If-Match`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use coordination::Expected;
use schemas::documents::{Document, Kind, Name};
use schemas::{Code, Error};
use serde::Deserialize;
use serde_json::Value;
use utoipa_axum::routes;

use super::extract::{Body, Format, Path, Query};
use super::problem::Problem;
use super::routes::Routes;
use crate::AdminContext;
use crate::control::changes::{Action, Change, json};
use crate::control::documents::{Delete, Deleted, Entry, Put};
use crate::control::{Caller, Selection};

pub(super) fn routes() -> Routes {
    Routes::new().viewer(routes!(list)).operator(routes!(post)).viewer(routes!(read)).operator(routes!(put, delete))
}

/// Which documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    kind: Option<String>,
    name: Option<String>,
}

/// How documents are put.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    #[serde(default)]
    dry_run: bool,
}

/// How documents are deleted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    #[serde(default)]
    purge: bool,
}

/// All documents, or some of them.
#[utoipa::path(get, path = "/documents", tag = "documents", operation_id = "list_documents",
    params(
        ("kind" = Option<String>, Query, description = "source, target or pipeline"),
        ("name" = Option<String>, Query, description = "the document's name"),
    ),
    responses(
        (status = 200, description = "The documents with their versions", body = ref("#/components/schemas/Entries")),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn list(State(context): State<AdminContext>, Query(filter): Query<Filter>) -> Result<Json<Vec<Entry>>, Problem> {
    let kind = filter.kind.map(|kind| parse_kind(&kind)).transpose()?;
    Ok(Json(context.control()?.documents(&Selection { kind, name: filter.name }).await?))
}

/// Puts several documents, all of them or none: a JSON array, one JSON document, or YAML documents.
#[utoipa::path(post, path = "/documents", tag = "documents", operation_id = "put_documents",
    params(("dry_run" = Option<bool>, Query, description = "check and say what would change, write nothing")),
    request_body(content(
        (ref("#/components/schemas/Documents") = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 200, description = "What was done with each", body = ref("#/components/schemas/Changes")),
        (status = "default", description = "What went wrong; nothing was written",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    ))]
async fn post(
    State(context): State<AdminContext>,
    caller: Caller,
    Query(mode): Query<Mode>,
    body: Body,
) -> Result<Json<Vec<Change>>, Problem> {
    let documents = aside(move || all_of(&body)).await?;
    let put = Put { dry_run: mode.dry_run, ..Put::default() };
    Ok(Json(context.control()?.put(&caller, documents, put).await?))
}

/// One document. Its version is the `ETag`; `Accept: application/yaml` gives YAML.
#[utoipa::path(get, path = "/documents/{kind}/{name}", tag = "documents", operation_id = "get_document",
    params(
        ("kind" = String, Path, description = "source, target or pipeline"),
        ("name" = String, Path, description = "the document's name"),
        ("If-None-Match" = Option<String>, Header, description = "a version that is known already: 304 when it is still that"),
    ),
    responses(
        (status = 200, description = "The document", body = ref("#/components/schemas/Document"),
            headers(("ETag" = String, description = "its version"))),
        (status = 304, description = "It is still the version of If-None-Match"),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn read(
    State(context): State<AdminContext>,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = parse_kind(&kind)?;
    let (document, version) = context.control()?.document(kind, &name).await?;
    let known = headers.get(header::IF_NONE_MATCH).map(|v| tags(v, "If-None-Match")).transpose()?;
    if known.is_some_and(|known| known.matches(version)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag(version))]).into_response());
    }
    let tag = (header::ETAG, etag(version));
    Ok(match Format::accepted(&headers) {
        Format::Json => ([tag], Json(json(&document)?)).into_response(),
        Format::Yaml => {
            let media = (header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
            ([tag, media], document.to_yaml()?).into_response()
        }
    })
}

/// Creates or changes one document; `kind` and `name` may be left out of the body.
#[utoipa::path(put, path = "/documents/{kind}/{name}", tag = "documents", operation_id = "put_document",
    params(
        ("kind" = String, Path, description = "source, target or pipeline"),
        ("name" = String, Path, description = "the document's name"),
        ("If-Match" = Option<String>, Header, description = "the version that is to be replaced"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only when there is none"),
        ("dry_run" = Option<bool>, Query, description = "check and say what would change, write nothing"),
    ),
    request_body(content(
        (ref("#/components/schemas/Document") = "application/json"),
        (String = "application/yaml"),
    )),
    responses(
        (status = 200, description = "It was changed, or was so already", body = ref("#/components/schemas/Change"),
            headers(("ETag" = String, description = "its version"))),
        (status = 201, description = "It is new", body = ref("#/components/schemas/Change"),
            headers(("ETag" = String, description = "its version"))),
        (status = 412, description = "Another version is there than If-Match or If-None-Match say",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = "default", description = "What went wrong; nothing was written",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
    ))]
async fn put(
    State(context): State<AdminContext>,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
    Query(mode): Query<Mode>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = parse_kind(&kind)?;
    check_name(&name)?;
    let document = {
        let name = name.clone();
        aside(move || named(kind, &name, &body)).await?
    };
    let expected = expected(&headers)?;
    let put = Put { dry_run: mode.dry_run, expected };
    let changes = context.control()?.put(&caller, vec![document], put).await;
    let mut changes = changes.map_err(|e| conditional(e, expected != Expected::Any))?;
    let Some(change) = changes.pop() else {
        return Err(Error::new(Code::NotFound, format!("there is no {kind} {name}")).into());
    };
    let status = if change.action == Action::Created && !mode.dry_run { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::ETAG, etag(change.version))], Json(change)).into_response())
}

/// Deletes one document, unless others refer to it. Topics stay; positions and progress stay unless they are purged.
#[utoipa::path(delete, path = "/documents/{kind}/{name}", tag = "documents", operation_id = "delete_document",
    params(
        ("kind" = String, Path, description = "source, target or pipeline"),
        ("name" = String, Path, description = "the document's name"),
        ("purge" = Option<bool>, Query, description = "take positions and progress away too"),
        ("If-Match" = Option<String>, Header, description = "the version that is to be deleted"),
    ),
    responses(
        (status = 200, description = "It is deleted", body = ref("#/components/schemas/Deleted")),
        (status = 412, description = "Another version is there than If-Match says",
            body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = "default", description = "What went wrong", body = ref("#/components/schemas/Problem"),
            content_type = "application/problem+json"),
    ))]
async fn delete(
    State(context): State<AdminContext>,
    caller: Caller,
    Path((kind, name)): Path<(String, String)>,
    Query(purge): Query<Purge>,
    headers: HeaderMap,
) -> Result<Json<Deleted>, Problem> {
    let kind = parse_kind(&kind)?;
    let version = match expected(&headers)? {
        Expected::Version(version) => Some(version),
        Expected::Any => None,
        Expected::New => {
            return Err(Problem::request(StatusCode::BAD_REQUEST, "If-None-Match: * makes no sense for deleting"));
        }
    };
    let deleted = context.control()?.delete(&caller, kind, &name, Delete { version, purge: purge.purge }).await;
    Ok(Json(deleted.map_err(|e| conditional(e, version.is_some()))?))
}

/// Reads a body on a thread of its own: a hostile one takes seconds, and everything else shares the others.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(read).await {
        Ok(result) => result,
        // Its text may hold anything.
        Err(_) => Err(Error::new(Code::RoleFailed, "reading the body broke off by an error of Otter's own").into()),
    }
}

/// The documents of a body.
fn all_of(body: &Body) -> Result<Vec<Document>, Problem> {
    Ok(match body.format {
        Format::Yaml => Document::parse_all(&body.text)?,
        Format::Json => match parse_json(&body.text)? {
            Value::Array(values) => values.into_iter().map(Document::from_value).collect::<Result<_, _>>()?,
            value => vec![Document::from_value(value)?],
        },
    })
}

/// The document of a body, whose kind and name are those of the path.
fn named(kind: Kind, name: &str, body: &Body) -> Result<Document, Problem> {
    let mut value = match body.format {
        Format::Json => parse_json(&body.text)?,
        Format::Yaml => Document::yaml_value(&body.text)?,
    };
    if let Some(map) = value.as_object_mut() {
        for (field, wanted) in [("kind", kind.as_str()), ("name", name)] {
            match map.get(field) {
                None => drop(map.insert(field.to_owned(), wanted.into())),
                Some(found) if found.as_str() == Some(wanted) => {}
                Some(_) => {
                    let message = format!("{field} in the body is not {wanted}, which the path says");
                    return Err(Error::new(Code::DocumentInvalid, message).with_path(field).into());
                }
            }
        }
    }
    Ok(Document::from_value(value)?)
}

fn parse_json(text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text)
        .map_err(|e| Problem::request(StatusCode::BAD_REQUEST, format!("the body is not JSON: {e}")))
}

pub(super) fn parse_kind(kind: &str) -> Result<Kind, Problem> {
    kind.parse().map_err(|e: Error| Problem::new(StatusCode::NOT_FOUND, &Error::new(Code::NotFound, e.message())))
}

/// Names that no document can have are not worth a look into ZooKeeper.
fn check_name(name: &str) -> Result<(), Problem> {
    name.parse::<Name>().map(drop).map_err(|e| Error::new(Code::DocumentInvalid, e).with_path("name").into())
}

fn etag(version: i32) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// What `If-Match` or `If-None-Match` name.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`.
    Any,
    /// Versions.
    Versions(Vec<i32>),
}

impl Tags {
    fn matches(&self, version: i32) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

fn tags(value: &HeaderValue, header: &str) -> Result<Tags, Problem> {
    let wrong = || {
        let detail = format!("{header}: it is not * or a version in quotes, such as \"3\"");
        Problem::request(StatusCode::BAD_REQUEST, detail)
    };
    let text = value.to_str().map_err(|_| wrong())?.trim();
    if text == "*" {
        return Ok(Tags::Any);
    }
    let version = |tag: &str| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag.strip_prefix('"')?.strip_suffix('"')?.parse::<i32>().ok().filter(|v| *v >= 0)
    };
    text.split(',').map(version).collect::<Option<Vec<_>>>().map(Tags::Versions).ok_or_else(wrong)
}

/// What a write expects, by its headers.
fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    let wrong = |detail: &str| Err(Problem::request(StatusCode::BAD_REQUEST, detail));
    let found = |name: header::HeaderName| {
        let mut given = headers.get_all(&name).iter();
        match (given.next(), given.next()) {
            (Some(_), Some(_)) => {
                let detail = format!("{name}: it is given twice");
                Err(Problem::request(StatusCode::BAD_REQUEST, detail))
            }
            (value, _) => value.map(|v| tags(v, name.as_str())).transpose(),
        }
    };
    match (found(header::IF_MATCH)?, found(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(Expected::Any),
        (None, Some(Tags::Any)) => Ok(Expected::New),
        (Some(Tags::Versions(versions)), None) => match versions.as_slice() {
            [version] => Ok(Expected::Version(*version)),
            _ => wrong("If-Match: one version is needed"),
        },
        (Some(Tags::Any), None) => wrong("If-Match: * is not supported; name the version"),
        (None, Some(_)) => wrong("If-None-Match: only * is supported for writing"),
        (Some(_), Some(_)) => wrong("If-Match and If-None-Match exclude each other"),
    }
}

/// 412 when the caller named what he expected; a document that is gone is not as expected either.
fn conditional(error: Error, named: bool) -> Problem {
    match error.code() {
        Code::VersionConflict if named => Problem::new(StatusCode::PRECONDITION_FAILED, &error),
        Code::NotFound if named => {
            let error = Error::new(Code::VersionConflict, error.message());
            Problem::new(StatusCode::PRECONDITION_FAILED, &error)
        }
        _ => error.into(),
    }
}
