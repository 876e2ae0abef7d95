//! Subjects and their versions: what serialisers and people ask for.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use coordination::{Registration, Registry, SubjectVersion};
use schemas::avro_text::NormalForm;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{self, Refusal, Wrong, switch};
use super::ids::plain;
use crate::control::Caller;
use crate::control::audit::{AuditAction, AuditRecord};

/// The longest name of a subject, in bytes; topics have at most 249 characters.
const MAX_SUBJECT: usize = 1000;

type Subject = Result<Path<String>, PathRejection>;
type Version = Result<Path<(String, String)>, PathRejection>;
type Asked = Result<Query<SubjectQuery>, QueryRejection>;
type Body = Result<Bytes, BytesRejection>;

#[derive(Debug, Deserialize)]
pub(super) struct SubjectQuery {
    deleted: Option<String>,
    #[serde(rename = "deletedOnly")]
    deleted_only: Option<String>,
    permanent: Option<String>,
    #[serde(rename = "subjectPrefix")]
    subject_prefix: Option<String>,
    offset: Option<usize>,
    limit: Option<i64>,
    format: Option<String>,
}

impl SubjectQuery {
    fn deleted(&self) -> bool {
        switch(self.deleted.as_deref())
    }

    fn deleted_only(&self) -> bool {
        switch(self.deleted_only.as_deref())
    }

    /// Whether a version with this mark is asked for.
    fn takes(&self, deleted: bool) -> bool {
        if self.deleted_only() { deleted } else { !deleted || self.deleted() }
    }

    fn page<T>(&self, all: impl Iterator<Item = T>) -> Vec<T> {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        all.skip(self.offset.unwrap_or(0)).take(limit).collect()
    }
}

/// A schema as clients send it.
#[derive(Debug, Deserialize)]
pub(super) struct SchemaBody {
    schema: Option<String>,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
    references: Option<Vec<Value>>,
    metadata: Option<Value>,
    #[serde(rename = "ruleSet")]
    rule_set: Option<Value>,
    id: Option<i64>,
}

impl SchemaBody {
    /// The text and its normal form.
    ///
    /// # Errors
    /// 42201 when it is no Avro schema, or has what this registry does not keep.
    pub(super) fn read(self) -> Result<(String, NormalForm), Refusal> {
        let invalid = |why: String| Refusal::new(Wrong::InvalidSchema, format!("Invalid schema: {why}"));
        if let Some(other) = self.schema_type.filter(|kind| !kind.is_empty() && !kind.eq_ignore_ascii_case("AVRO")) {
            return Err(invalid(format!("its type is {other:?}, and this registry holds Avro schemas only")));
        }
        if self.references.is_some_and(|references| !references.is_empty()) {
            return Err(invalid("references to other schemas are not supported; write them out".to_owned()));
        }
        let given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        if given(&self.metadata) || given(&self.rule_set) {
            return Err(invalid("metadata and rule sets are not supported".to_owned()));
        }
        if self.id.is_some_and(|id| id > 0) {
            return Err(Refusal::new(Wrong::NotPermitted, "ids are given out by this registry, not by its clients"));
        }
        let text = self.schema.filter(|text| !text.is_empty()).ok_or_else(|| invalid("it is empty".to_owned()))?;
        let form = NormalForm::of(&text).map_err(invalid)?;
        Ok((text, form))
    }
}

/// `GET /subjects`
pub(super) async fn list(State(shared): State<Shared>, query: Asked) -> Result<Response, Refusal> {
    let (registry, query) = (shared.registry()?, query?.0);
    let mut subjects = registry.subjects().await?;
    if let Some(prefix) = query.subject_prefix.as_deref().filter(|prefix| *prefix != ":*:") {
        subjects.retain(|subject| subject.starts_with(prefix));
    }
    let mut taken = Vec::new();
    for subject in subjects {
        let versions = registry.versions(&subject).await?;
        // A subject counts as deleted when all its versions are.
        if !versions.is_empty() && query.takes(versions.iter().all(|v| v.deleted)) {
            taken.push(subject);
        }
    }
    Ok(answer::json(query.page(taken.into_iter())))
}

/// `GET /subjects/{subject}/versions`
pub(super) async fn versions(
    State(shared): State<Shared>,
    subject: Subject,
    query: Asked,
) -> Result<Response, Refusal> {
    let (subject, query) = (subject?.0, query?.0);
    let all = shared.registry()?.versions(&subject).await?;
    let versions: Vec<u32> = all.iter().filter(|v| query.takes(v.deleted)).map(|v| v.version).collect();
    if versions.is_empty() {
        return Err(Refusal::subject(&subject));
    }
    Ok(answer::json(query.page(versions.into_iter())))
}

/// `GET /subjects/{subject}/versions/{version}`
pub(super) async fn version(State(shared): State<Shared>, path: Version, query: Asked) -> Result<Response, Refusal> {
    let query = query?.0;
    plain(query.format.as_deref())?;
    let (subject, version) = path?.0;
    let registry = shared.registry()?;
    let found = find(&registry, &subject, &version, query.deleted()).await?;
    let schema = registry.schema(found.id).await?;
    Ok(answer::json(entry(&subject, found, &schema)))
}

/// `GET /subjects/{subject}/versions/{version}/schema`
pub(super) async fn text(State(shared): State<Shared>, path: Version, query: Asked) -> Result<Response, Refusal> {
    let query = query?.0;
    plain(query.format.as_deref())?;
    let (subject, version) = path?.0;
    let registry = shared.registry()?;
    let found = find(&registry, &subject, &version, query.deleted()).await?;
    Ok(answer::text(&registry.schema(found.id).await?))
}

/// `GET /subjects/{subject}/versions/{version}/referencedby`: nothing refers to anything.
pub(super) async fn referenced_by(State(shared): State<Shared>, path: Version) -> Result<Response, Refusal> {
    let (subject, version) = path?.0;
    find(&shared.registry()?, &subject, &version, false).await?;
    Ok(answer::json(Vec::<u32>::new()))
}

/// `POST /subjects/{subject}/versions`: registers a schema, or finds it.
pub(super) async fn register(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    subject: Subject,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let subject = subject?.0;
    check_name(&subject)?;
    let (text, form) = answer::body::<SchemaBody>(&headers, body)?.read()?;
    let same = |known: &str| known == text || form.is(known);
    let Registration { found, added } = shared.registry()?.register_like(&subject, &text, same).await?;
    if added {
        let details = json!({ "id": found.id, "version": found.version });
        audit(&shared, &caller, AuditAction::SchemaRegister, &subject, details)?;
    }
    Ok(answer::json(json!({ "id": found.id, "version": found.version })))
}

/// `POST /subjects/{subject}`: finds a schema.
pub(super) async fn lookup(
    State(shared): State<Shared>,
    subject: Subject,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (subject, query) = (subject?.0, query?.0);
    let (text, form) = answer::body::<SchemaBody>(&headers, body)?.read()?;
    let registry = shared.registry()?;
    if !registry.versions(&subject).await?.iter().any(|v| query.takes(v.deleted)) {
        return Err(Refusal::subject(&subject));
    }
    let found = registry.lookup(&subject, |known| known == text || form.is(known)).await?;
    let found = found.filter(|v| query.takes(v.deleted)).ok_or_else(Refusal::schema)?;
    let schema = registry.schema(found.id).await?;
    Ok(answer::json(entry(&subject, found, &schema)))
}

/// `DELETE /subjects/{subject}`
pub(super) async fn hide(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    subject: Subject,
    query: Asked,
) -> Result<Response, Refusal> {
    let (subject, query) = (subject?.0, query?.0);
    refuse_erasing(&query)?;
    let hidden = shared.registry()?.hide(&subject, None).await?;
    if hidden.is_empty() {
        return Err(Refusal::subject(&subject));
    }
    audit(&shared, &caller, AuditAction::SchemaHide, &subject, json!({ "versions": hidden }))?;
    Ok(answer::json(hidden))
}

/// `DELETE /subjects/{subject}/versions/{version}`
pub(super) async fn hide_version(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    path: Version,
    query: Asked,
) -> Result<Response, Refusal> {
    refuse_erasing(&query?.0)?;
    let (subject, version) = path?.0;
    let registry = shared.registry()?;
    let found = find(&registry, &subject, &version, false).await?;
    let hidden = registry.hide(&subject, Some(found.version)).await?;
    if !hidden.is_empty() {
        audit(&shared, &caller, AuditAction::SchemaHide, &subject, json!({ "versions": hidden }))?;
    }
    Ok(answer::json(found.version))
}

fn audit(shared: &Shared, caller: &Caller, action: AuditAction, subject: &str, details: Value) -> Result<(), Refusal> {
    let record = AuditRecord::about(caller, action, "subject", subject);
    shared.control()?.tools().audit(AuditRecord { details, ..record });
    Ok(())
}

fn refuse_erasing(query: &SubjectQuery) -> Result<(), Refusal> {
    if switch(query.permanent.as_deref()) {
        let message = "schemas are not erased for good: records in topics carry their ids; a plain DELETE hides them";
        return Err(Refusal::new(Wrong::NotPermitted, message));
    }
    Ok(())
}

/// A version that is visible: a number, `latest` or `-1`.
pub(super) async fn find(
    registry: &Registry,
    subject: &str,
    version: &str,
    deleted: bool,
) -> Result<SubjectVersion, Refusal> {
    let wanted = match version {
        "latest" | "-1" => None,
        number => match number.parse::<u32>() {
            Ok(number) if number > 0 && i32::try_from(number).is_ok() => Some(number),
            _ => {
                let message = "The specified version is not a valid version id. Allowed values are between \
                               [1, 2^31-1] and the string \"latest\"";
                return Err(Refusal::new(Wrong::InvalidVersion, message));
            }
        },
    };
    let mut visible = registry.versions(subject).await?;
    visible.retain(|v| deleted || !v.deleted);
    match wanted {
        _ if visible.is_empty() => Err(Refusal::subject(subject)),
        None => visible.last().copied().ok_or_else(|| Refusal::subject(subject)),
        Some(number) => visible.into_iter().find(|v| v.version == number).ok_or_else(|| Refusal::version(number)),
    }
}

fn entry(subject: &str, found: SubjectVersion, schema: &str) -> Value {
    json!({ "subject": subject, "version": found.version, "id": found.id, "schema": schema })
}

fn check_name(subject: &str) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::new(Wrong::InvalidSubject, format!("Invalid subject: {why}")));
    if subject.is_empty() || subject.len() > MAX_SUBJECT {
        return invalid("its name has 1 to 1000 bytes");
    }
    if subject.chars().any(char::is_control) {
        return invalid("its name holds control characters");
    }
    if subject.starts_with(":.") || subject.starts_with("__") {
        return invalid("contexts (`:.name:`) and names beginning with `__` are not supported");
    }
    Ok(())
}
