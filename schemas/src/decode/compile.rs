//! From the writer's schema to the decoder's plan.
//!
//! The JSON is walked directly: `connect.name` and `otter.name`, which say what a field means, are properties that Avro
//! libraries drop from primitive types. Fields are found by name, in any order, and fields we do not know are read over,
//! so that a later version may add some. What decides values (types of columns, `source.ordinal`, `exact`) must be as
//! expected; anything else is refused, never guessed.

use std::collections::HashMap;

use serde_json::Value;

use super::exact::ExactField;
use super::labels::labels;
use super::plan::{Column, Field, Plan, Read, Skip, SourceField};
use super::{DatumKind, WriterColumn};
use crate::error::Result;
use crate::{Code, Error};

/// Parts of a schema that are compiled at most: named types that use each other twice grow without bound.
const BUDGET: usize = 100_000;
/// How deep types may lie in each other.
const DEPTH: usize = 64;

/// A schema with the namespace that names in it belong to.
#[derive(Debug, Clone, Copy)]
struct Schema<'s> {
    json: &'s Value,
    namespace: &'s str,
}

/// A field of a record.
#[derive(Debug, Clone, Copy)]
struct RecordField<'s> {
    name: &'s str,
    /// `otter.name`: the column's name where Avro cannot have it.
    original: Option<&'s str>,
    ty: Schema<'s>,
}

/// The row's record: its full name, and its columns.
struct Row {
    name: String,
    columns: Vec<(WriterColumn, Column)>,
}

struct Compiler<'s> {
    /// Named types by full name. A name counts only behind its definition, so recursion cannot be expressed.
    named: HashMap<String, Schema<'s>>,
    budget: usize,
    depth: usize,
}

/// Compiles an envelope's schema.
pub(super) fn compile(json: &str) -> Result<(Plan, Vec<WriterColumn>)> {
    let root: Value = serde_json::from_str(json).map_err(|error| refuse("it is not JSON").with_source(error))?;
    let mut compiler = Compiler { named: HashMap::new(), budget: BUDGET, depth: 0 };
    compiler.envelope(Schema { json: &root, namespace: "" })
}

fn refuse(what: impl AsRef<str>) -> Error {
    Error::new(Code::RecordInvalid, format!("the writer's schema is not of an Otter event: {}", what.as_ref()))
}

impl<'s> Schema<'s> {
    fn property(self, name: &str) -> Option<&'s str> {
        self.json.get(name)?.as_str()
    }

    /// One of Connect's parameters; all are texts.
    fn parameter(self, name: &str) -> Option<&'s str> {
        self.json.get("connect.parameters")?.get(name)?.as_str()
    }

    fn number(self, name: &str) -> Option<u64> {
        self.json.get(name)?.as_u64()
    }

    fn with(self, json: &'s Value) -> Self {
        Self { json, ..self }
    }

    /// The type's name: `long`, whether it stands alone or in an object with properties.
    fn type_name(self) -> Option<&'s str> {
        self.json.as_str().or_else(|| self.property("type"))
    }

    /// Index of null, and the other branch, of a union of two.
    fn nullable(self) -> Option<(usize, Self)> {
        let [first, second] = self.json.as_array()?.as_slice() else { return None };
        let (first, second) = (self.with(first), self.with(second));
        match (first.type_name(), second.type_name()) {
            (Some("null"), Some("null")) => None,
            (Some("null"), _) => Some((0, second)),
            (_, Some("null")) => Some((1, first)),
            _ => None,
        }
    }

    /// As [`Schema::nullable`], for a field that must be such a union.
    fn must_be_nullable(self, field: &str) -> Result<(usize, Self)> {
        self.nullable().ok_or_else(|| refuse(format!("{field} is not a union of null and a type")))
    }

    fn must_be(self, ty: &str, field: &str) -> Result<()> {
        if self.type_name() == Some(ty) { Ok(()) } else { Err(refuse(format!("{field} is not of type {ty}"))) }
    }

    /// Full name of a named type, and the namespace for what is in it.
    fn full_name(self) -> Result<(String, &'s str)> {
        let name = self.property("name").ok_or_else(|| refuse("a named type has no name"))?;
        if let Some((namespace, _)) = name.rsplit_once('.') {
            return Ok((name.to_owned(), namespace));
        }
        let namespace = self.property("namespace").unwrap_or(self.namespace);
        Ok((join(namespace, name), namespace))
    }
}

fn join(namespace: &str, name: &str) -> String {
    if namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

impl<'s> Compiler<'s> {
    fn envelope(&mut self, root: Schema<'s>) -> Result<(Plan, Vec<WriterColumn>)> {
        let mut plan = vec![];
        let mut row = None;
        let (_, fields) = self.record(root)?;
        for RecordField { name, ty, .. } in &fields {
            plan.push(match *name {
                "before" => Field::Before { null: self.row(*ty, &mut row)? },
                "after" => Field::After { null: self.row(*ty, &mut row)? },
                "source" => Field::Source(self.source(*ty)?),
                "op" => ty.must_be("string", name).map(|()| Field::Op)?,
                "exact" => self.exact(*ty)?,
                _ => Field::Skip(self.skip(*ty)?),
            });
        }
        once_each(&fields, &["before", "after", "source", "op", "exact"])?;
        let row = row.ok_or_else(|| refuse("there is no row"))?;
        let (columns, row) = row.columns.into_iter().unzip();
        Ok((Plan { fields: plan, row }, columns))
    }

    /// `before` or `after`: both are of the same record. Returns the index of null.
    fn row(&mut self, ty: Schema<'s>, row: &mut Option<Row>) -> Result<usize> {
        let (null, record) = ty.must_be_nullable("before or after")?;
        let (name, fields) = self.record(record)?;
        if let Some(earlier) = row {
            if earlier.name != name {
                return Err(refuse(format!("before and after are of two types, {} and {name}", earlier.name)));
            }
            return Ok(null);
        }
        let columns = fields.iter().map(column).collect::<Result<_>>()?;
        self.define(&name, record);
        *row = Some(Row { name, columns });
        Ok(null)
    }

    fn exact(&mut self, ty: Schema<'s>) -> Result<Field> {
        let (null, record) = ty.must_be_nullable("exact")?;
        let (_, fields) = self.record(record)?;
        once_each(&fields, &["before", "after"])?;
        let skip = self.skip(record)?;
        let fields = fields.iter().map(|field| {
            Ok(match field.name {
                "before" => ExactField::Before { null: texts(field)? },
                "after" => ExactField::After { null: texts(field)? },
                _ => ExactField::Skip(self.skip(field.ty)?),
            })
        });
        Ok(Field::Exact { null, fields: fields.collect::<Result<_>>()?, skip })
    }

    fn source(&mut self, ty: Schema<'s>) -> Result<Vec<SourceField>> {
        let (full_name, fields) = self.record(ty)?;
        let mut plan = vec![];
        for RecordField { name, ty, .. } in &fields {
            let (field, expected) = match *name {
                "ts_ms" => (SourceField::TsMs, "long"),
                "file" => (SourceField::File, "string"),
                "pos" => (SourceField::Pos, "long"),
                "row" => (SourceField::Row, "int"),
                "ordinal" => (SourceField::Ordinal, "long"),
                "generation" => (SourceField::Generation, "int"),
                "gtid" => {
                    let (null, text) = ty.must_be_nullable(name)?;
                    text.must_be("string", name)?;
                    plan.push(SourceField::Gtid { null });
                    continue;
                }
                _ => {
                    plan.push(SourceField::Skip(self.skip(*ty)?));
                    continue;
                }
            };
            ty.must_be(expected, name)?;
            plan.push(field);
        }
        once_each(&fields, &["ts_ms", "gtid", "file", "pos", "row", "ordinal", "generation"])?;
        self.define(&full_name, ty);
        Ok(plan)
    }

    /// Full name and fields of a record, defined here or named.
    fn record(&self, ty: Schema<'s>) -> Result<(String, Vec<RecordField<'s>>)> {
        let ty = self.resolve(ty);
        if ty.json.as_str().is_some() || ty.type_name() != Some("record") {
            return Err(refuse(format!("a record is expected instead of {}", ty.type_name().unwrap_or("a union"))));
        }
        let (name, namespace) = ty.full_name()?;
        let fields = ty.json.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| refuse(format!("{name} has no fields")))?;
        let fields = fields.iter().map(|field| {
            let ty = field.get("type").map(|json| Schema { json, namespace });
            let name = field.get("name").and_then(Value::as_str);
            let original = field.get("otter.name").and_then(Value::as_str);
            name.zip(ty).map(|(name, ty)| RecordField { name, original, ty })
        });
        let fields: Option<Vec<_>> = fields.collect();
        Ok((name.clone(), fields.ok_or_else(|| refuse(format!("a field of {name} lacks name or type")))?))
    }

    /// What a name stands for; anything else as it is.
    fn resolve(&self, ty: Schema<'s>) -> Schema<'s> {
        let named = ty.json.as_str().and_then(|name| self.named.get(&join(ty.namespace, name)));
        *named.unwrap_or(&ty)
    }

    fn define(&mut self, name: &str, ty: Schema<'s>) {
        let ty = self.resolve(ty);
        self.named.entry(name.to_owned()).or_insert(ty);
    }

    /// The plan to read over a type.
    fn skip(&mut self, ty: Schema<'s>) -> Result<Skip> {
        self.budget = self.budget.checked_sub(1).ok_or_else(|| refuse("it is too large"))?;
        if self.depth == DEPTH {
            return Err(refuse("its types lie too deep in each other"));
        }
        self.depth += 1;
        let ty = self.resolve(ty);
        let skip = match ty.json.as_array() {
            Some(branches) => {
                let branches = branches.iter().map(|branch| self.skip(ty.with(branch)));
                Skip::Union(branches.collect::<Result<_>>()?)
            }
            None => self.skip_one(ty)?,
        };
        self.depth -= 1;
        Ok(skip)
    }

    fn skip_one(&mut self, ty: Schema<'s>) -> Result<Skip> {
        let part = |name: &str| {
            let part = ty.json.get(name).map(|json| ty.with(json));
            part.ok_or_else(|| refuse(format!("an array or map has no {name}")))
        };
        Ok(match ty.type_name().unwrap_or_default() {
            "null" => Skip::Fixed(0),
            "boolean" => Skip::Fixed(1),
            "int" | "long" => Skip::Number,
            "float" => Skip::Fixed(4),
            "double" => Skip::Fixed(8),
            "bytes" | "string" => Skip::Bytes,
            "array" => Skip::Blocks(Box::new(self.skip(part("items")?)?)),
            "map" => Skip::Blocks(Box::new(Skip::Record(vec![Skip::Bytes, self.skip(part("values")?)?]))),
            "record" => {
                let (name, fields) = self.record(ty)?;
                let fields = fields.iter().map(|field| self.skip(field.ty)).collect::<Result<_>>()?;
                self.define(&name, ty);
                Skip::Record(fields)
            }
            kind @ ("enum" | "fixed") => {
                let (name, _) = ty.full_name()?;
                self.define(&name, ty);
                let size = ty.number("size").and_then(|size| usize::try_from(size).ok());
                match size {
                    _ if kind == "enum" => Skip::Number,
                    Some(size) => Skip::Fixed(size),
                    None => return Err(refuse(format!("{name} has no size"))),
                }
            }
            other => return Err(refuse(format!("type {other} is not known"))),
        })
    }
}

/// That a field is null or a map of strings; null's index.
fn texts(field: &RecordField<'_>) -> Result<usize> {
    let (null, map) = field.ty.must_be_nullable(field.name)?;
    map.must_be("map", field.name)?;
    let values = map.json.get("values").map(|json| map.with(json));
    match values {
        Some(values) if values.type_name() == Some("string") => Ok(null),
        _ => Err(refuse(format!("{} of exact is not a map of strings", field.name))),
    }
}

/// That a record has each of these fields, and has it once.
fn once_each(fields: &[RecordField<'_>], expected: &[&str]) -> Result<()> {
    for name in expected {
        let count = fields.iter().filter(|field| field.name == *name).count();
        if count != 1 {
            return Err(refuse(format!("{count} fields are named {name}")));
        }
    }
    Ok(())
}

/// A column's meaning, and how it is read.
fn column(field: &RecordField<'_>) -> Result<(WriterColumn, Column)> {
    let (null, ty) = match field.ty.nullable() {
        Some((null, ty)) => (Some(null), ty),
        None => (None, field.ty),
    };
    let Some((kind, read)) = meaning(ty) else {
        return Err(refuse(format!("column {} is of a type this version does not read: {}", field.name, ty.json)));
    };
    let name = field.original.unwrap_or(field.name).to_owned();
    let labels = match (kind, ty.parameter("allowed")) {
        (DatumKind::Enum | DatumKind::Set, Some(allowed)) => labels(allowed, kind == DatumKind::Set),
        _ => Vec::new(),
    };
    Ok((WriterColumn { name, kind, nullable: null.is_some(), labels }, Column { null, read }))
}

fn meaning(ty: Schema<'_>) -> Option<(DatumKind, Read)> {
    const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
    Some(match (ty.type_name()?, ty.property("connect.name")) {
        ("int", None) => (DatumKind::Int, Read::Int),
        ("long", None) => (DatumKind::Int, Read::Long),
        ("float", None) => (DatumKind::Float, Read::Float),
        ("double", None) => (DatumKind::Double, Read::Double),
        ("string", None) => (DatumKind::Text, Read::Text),
        ("bytes", None) if ty.property("logicalType").is_none() => (DatumKind::Bytes, Read::Bytes),
        ("boolean", None) => (DatumKind::Bool, Read::Bool),
        ("bytes", Some("io.debezium.data.Bits")) => {
            let bits = ty.parameter("length")?.parse().ok().filter(|bits| (1..=64).contains(bits))?;
            (DatumKind::Bits { bits }, Read::Bits(bits))
        }
        ("string", Some("io.debezium.data.Enum")) => (DatumKind::Enum, Read::Text),
        ("string", Some("io.debezium.data.EnumSet")) => (DatumKind::Set, Read::Text),
        ("string", Some("io.debezium.data.Json")) => (DatumKind::Json, Read::Text),
        ("int", Some("io.debezium.time.Year")) => (DatumKind::Year, Read::Int),
        ("int", Some("io.debezium.time.Date")) => (DatumKind::Date, Read::Int),
        ("long", Some("io.debezium.time.Timestamp")) => (DatumKind::TimestampMillis, Read::Long),
        ("long", Some("io.debezium.time.MicroTimestamp")) => (DatumKind::TimestampMicros, Read::Long),
        ("long", Some("io.debezium.time.MicroTime")) => (DatumKind::MicroTime, Read::Long),
        ("string", Some("io.debezium.time.ZonedTimestamp")) => (DatumKind::ZonedTimestamp, Read::Text),
        ("bytes", Some(DECIMAL)) if ty.property("logicalType") == Some("decimal") => {
            let precision = u8::try_from(ty.number("precision")?).ok().filter(|digits| (1..=65).contains(digits))?;
            let scale = u8::try_from(ty.number("scale").unwrap_or(0)).ok().filter(|scale| *scale <= precision)?;
            // a digit is less than 3.33 bits; and the sign's bit
            let most = (usize::from(precision) * 333 / 100 + 1) / 8 + 1;
            (DatumKind::Decimal { precision, scale }, Read::Decimal(most))
        }
        _ => return None,
    })
}
