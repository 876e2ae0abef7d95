//! `/openapi.json`: the API as it describes itself. docs/openapi.json is the same; a test compares them.

use axum::Json;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use schemas::documents::{Kind, Pipeline, Source, Target};
use schemas::offsets::PipelineOffsets;
use schemas::request::{PipelineAction, SourceAction, Ticket};
use serde_json::{Map, Value, json};
use utoipa_axum::routes;

use super::codes::CodeInfo;
use super::problem::Problem;
use super::routes::Routes;
use super::tokens::TokenWanted;
use crate::control::changes::Change;
use crate::control::documents::{Deleted, Entry, StateSet};
use crate::control::status;
use crate::control::tokens::{NewToken, TokenInfo};

/// Where the schemas are in the document.
const SCHEMAS: &str = "#/components/schemas/";

pub(super) fn routes() -> Routes {
    Routes::new().viewer(routes!(openapi))
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "api", operation_id = "openapi",
    responses((status = 200, description = "The API in OpenAPI 3.1", body = ref("#/components/schemas/Any"))))]
async fn openapi() -> Json<Value> {
    Json(document())
}

/// The OpenAPI document of the API.
pub fn document() -> Value {
    let mut document = serde_json::to_value(super::described().into_openapi()).unwrap_or_default();
    document["info"] = json!({
        "title": "Otter",
        "version": "1",
        "description": "The admin API of Otter. Every request gives a token, as Bearer or as the password of Basic; \
                        x-otter-role says which role a route needs (each role may do what the ones before it may: \
                        viewer, operator, admin). Errors are application/problem+json with a code; docs/api.md has \
                        examples.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["security"] = json!([{ "bearer": [] }, { "basic": [] }]);
    document["components"] = json!({
        "schemas": components(),
        "securitySchemes": {
            "bearer": { "type": "http", "scheme": "bearer", "description": "A token, otr_…" },
            "basic": { "type": "http", "scheme": "basic", "description": "Any user, the token as password" },
        },
    });
    document
}

/// The schemas of all bodies.
fn components() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let documents = [
        (Kind::Source, schema::<Source>(&mut generator)),
        (Kind::Target, schema::<Target>(&mut generator)),
        (Kind::Pipeline, schema::<Pipeline>(&mut generator)),
    ];
    let lists = [
        ("Entries", schema::<Vec<Entry>>(&mut generator)),
        ("Changes", schema::<Vec<Change>>(&mut generator)),
        ("Findings", schema::<Vec<schemas::check::Finding>>(&mut generator)),
        ("Codes", schema::<Vec<CodeInfo>>(&mut generator)),
        ("Tokens", schema::<Vec<TokenInfo>>(&mut generator)),
        ("Sources", schema::<Vec<status::Source>>(&mut generator)),
        ("Pipelines", schema::<Vec<status::Pipeline>>(&mut generator)),
        ("Workers", schema::<Vec<status::Worker>>(&mut generator)),
        ("AllOffsets", schema::<Vec<PipelineOffsets>>(&mut generator)),
        ("PipelineTicket", schema::<Ticket<PipelineAction>>(&mut generator)),
        ("SourceTicket", schema::<Ticket<SourceAction>>(&mut generator)),
    ];
    schema::<Problem>(&mut generator);
    schema::<Deleted>(&mut generator);
    schema::<StateSet>(&mut generator);
    schema::<status::Status>(&mut generator);
    schema::<NewToken>(&mut generator);
    schema::<TokenWanted>(&mut generator);
    let mut components = generator.take_definitions(true);
    for (kind, reference) in &documents {
        let name = reference["$ref"].as_str().and_then(|r| r.strip_prefix(SCHEMAS)).unwrap_or_default();
        tag(*kind, components.get_mut(name));
    }
    let one_of: Vec<Value> = documents.into_iter().map(|(_, reference)| reference).collect();
    let described = json!({ "oneOf": one_of, "discriminator": { "propertyName": "kind" } });
    components.insert("Document".to_owned(), described);
    let several = json!({ "type": "array", "items": { "$ref": format!("{SCHEMAS}Document") } });
    components.insert("Documents".to_owned(), several);
    components.insert("Any".to_owned(), json!({ "type": "object" }));
    components.extend(lists.map(|(name, schema)| (name.to_owned(), schema)));
    components
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// `kind` is read before the rest of a document and is no field of its type.
fn tag(kind: Kind, schema: Option<&mut Value>) {
    let Some(schema) = schema else { return };
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("kind".to_owned(), json!({ "const": kind.as_str() }));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.insert(0, "kind".into());
    }
}
