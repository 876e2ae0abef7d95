//! What `otter check` looks at on a target: reachability, settings, privileges, tables, keys, cascades.
//!
//! Nothing is changed: privileges on tables are tried with statements that can touch no row, in a transaction that is
//! rolled back. Every finding that is not well carries a code and what to do.

mod rows;

use std::collections::BTreeSet;

use mysql_async::Value;
use schemas::check::{Finding, SourceTable, SourceTables};
use schemas::decode::{DatumKind, WriterColumn};
use schemas::documents::{ForeignKeys, Mapping, Pipeline, Target};
use schemas::progress::{self, quote};
use schemas::server::ServerAccess;
use schemas::table::{Column, ColumnType, TableName};
use schemas::{Code, Error};

use crate::target::columns::TargetTable;
use crate::target::connection::Session;
use crate::target::failure::{Failure, Fault};
use crate::target::mapping::{Rules, TableMapping};

/// Packets below this are worth a word: rows and batches are cut to the server's limit.
const SMALL_PACKET: usize = 16 * 1024 * 1024;

/// Looks at everything that a pipeline needs of its target. `sources` holds the source's tables as far as they
/// are known; without them, columns and rows are not compared.
pub async fn check(pipeline: &Pipeline, target: &Target, sources: &SourceTables) -> Vec<Finding> {
    let subject = format!("target {}", target.name);
    let session = match ServerAccess::from(target).options() {
        Ok(options) => Session::connect(&options).await.map_err(|failure| failure.error),
        Err(error) => Err(error),
    };
    let mut session = match session {
        Ok(session) => session,
        Err(error) => return vec![Finding::error(subject, &error)],
    };
    let mut found = vec![Finding::ok(&subject, format!("connected, {}", session.facts().version))];
    let result = look(&mut session, pipeline, target, sources, &mut found).await;
    if let Err(failure) = result {
        found.push(Finding::error(subject, &failure.error));
    }
    session.close().await;
    found
}

async fn look(
    session: &mut Session,
    pipeline: &Pipeline,
    target: &Target,
    sources: &SourceTables,
    found: &mut Vec<Finding>,
) -> Result<(), Failure> {
    settings(session, target, found).await?;
    let begun = if own_tables(session, target, found).await? {
        rows::begun(session, target, pipeline).await?
    } else {
        BTreeSet::new()
    };
    for mapping in &pipeline.mappings {
        for from in mapped_tables(pipeline, mapping, sources) {
            let source = sources.get(&from);
            let begun = source.is_some_and(|source| begun.contains(&source.topic));
            let ordered = pipeline.settings_for(mapping).foreign_keys == ForeignKeys::Ordered;
            let constants = mapping.columns.constants(pipeline.source.as_str(), &from);
            for (to, merges) in mapping.to.of(&from).into_iter().zip(mapping.merges()) {
                let rules = Rules { columns: mapping.columns.clone(), constants: constants.clone(), merges };
                let pair = Pair { mapping, from: &from, to: &to, rules, source, begun, ordered };
                mapped_table(session, &pair, found).await?;
            }
        }
    }
    Ok(())
}

/// A source's table and one of those that it goes to.
struct Pair<'a> {
    mapping: &'a Mapping,
    from: &'a TableName,
    to: &'a TableName,
    rules: Rules,
    /// The source's table, as far as it is known.
    source: Option<&'a SourceTable>,
    /// The pipeline has progress of it already.
    begun: bool,
    /// The tables keep their order, under the target's foreign keys.
    ordered: bool,
}

/// The source tables of a mapping: those that it names, and of a pattern those that are known to be there.
fn mapped_tables(pipeline: &Pipeline, mapping: &Mapping, sources: &SourceTables) -> Vec<TableName> {
    match mapping.from.exact() {
        Some(table) => vec![table],
        None => {
            let of_mapping = |table: &&TableName| pipeline.mapping_for(table).is_some_and(|m| std::ptr::eq(m, mapping));
            sources.keys().filter(of_mapping).cloned().collect()
        }
    }
}

async fn settings(session: &mut Session, target: &Target, found: &mut Vec<Finding>) -> Result<(), Failure> {
    let subject = |name: &str| format!("target {}: {name}", target.name);
    let packet = session.facts().max_allowed_packet;
    if packet < SMALL_PACKET {
        let message = format!(
            "max_allowed_packet is {packet} bytes: a larger row pauses its table; raise it to {SMALL_PACKET} or more"
        );
        found.push(Finding::warning(subject("max_allowed_packet"), &Error::new(Code::TargetRefused, message)));
    } else {
        found.push(Finding::ok(subject("max_allowed_packet"), packet.to_string()));
    }
    let read_only: Option<(u8,)> = session.first("SELECT @@global.read_only").await?;
    if read_only.is_some_and(|(on,)| on != 0) {
        let message =
            "read_only is on: only users who may ignore it can write; turn it off, or point the target at the primary";
        found.push(Finding::warning(subject("read_only"), &Error::new(Code::TargetBusy, message)));
    }
    Ok(())
}

/// The progress table, or the right to create it; whether it is there.
async fn own_tables(session: &mut Session, target: &Target, found: &mut Vec<Finding>) -> Result<bool, Failure> {
    let schema = target.schema.as_str();
    let name = TableName::new(schema, progress::TABLE);
    let exists: Option<(String,)> = session
        .find(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
            vec![Value::from(schema), Value::from(progress::TABLE)],
        )
        .await?;
    if exists.is_some() {
        let table = TargetTable::read(session, &name).await?;
        if !table.transactional {
            let message = format!("the progress table has the engine {}, which has no transactions", table.engine);
            found.push(Finding::error(name.to_string(), &Error::new(Code::TargetTable, message)));
        }
        let before = found.len();
        privileges(session, &name, &progress::COLUMNS, found).await?;
        if found.len() == before {
            found.push(Finding::ok(name.to_string(), "the privileges fit"));
        }
        return Ok(true);
    }
    let may: Option<(i64,)> = session
        .find(
            "SELECT 1 FROM (SELECT PRIVILEGE_TYPE p FROM information_schema.USER_PRIVILEGES UNION ALL \
             SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE ? LIKE TABLE_SCHEMA) g WHERE p = 'CREATE' LIMIT 1",
            vec![Value::from(schema)],
        )
        .await?;
    found.push(match may {
        Some(_) => Finding::ok(name.to_string(), "will be created on first use"),
        None => {
            let message = format!(
                "the user seems to lack CREATE on {}: grant CREATE, SELECT, INSERT, UPDATE, DELETE on it",
                quote(schema)
            );
            Finding::warning(name.to_string(), &Error::new(Code::TargetGrant, message))
        }
    });
    Ok(false)
}

async fn mapped_table(session: &mut Session, pair: &Pair<'_>, found: &mut Vec<Finding>) -> Result<(), Failure> {
    let &Pair { mapping, from, to, source, ordered, .. } = pair;
    let subject = format!("{from} -> {to}");
    let table = match TargetTable::read(session, to).await {
        Ok(table) => table,
        Err(failure) if failure.fault == Fault::Refused => {
            found.push(Finding::error(subject, &failure.error));
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let before = found.len();
    let writer: Vec<WriterColumn> = match source {
        Some(source) => source.structure.columns.iter().map(writer_column).collect(),
        // Without the source's structure: what the target has, as if every column came.
        None => Vec::new(),
    };
    let (reasons, keyless) = match source.map(|_| TableMapping::compile(&writer, &pair.rules, &table)) {
        Some(Ok(compiled)) => (Vec::new(), compiled.key.is_empty()),
        Some(Err(reasons)) => (reasons, false),
        None => (table.reasons(), !table.has_key()),
    };
    for reason in reasons {
        found.push(Finding::error(&subject, &Error::new(Code::TargetTable, reason)));
    }
    if keyless {
        found.push(rows::keyless(&subject, to));
    }
    for column in writer.iter().filter(|column| column.nullable && mapping.columns.takes(&column.name)) {
        let name = mapping.columns.target_name(&column.name);
        let strict = table
            .columns
            .iter()
            .find(|c| c.name.eq_ignore_ascii_case(name))
            .is_some_and(|c| !c.nullable && !c.generated);
        if strict {
            let message = format!(
                "`{name}` is NOT NULL here and may be NULL at the source: a NULL pauses the table; make it NULL here too"
            );
            found.push(Finding::warning(&subject, &Error::new(Code::TargetTable, message)));
        }
    }
    if let Some(source) = source {
        found.extend(rows::charsets(&subject, mapping, source, &table));
        found.extend(rows::existing(session, &subject, pair, source).await?);
    }
    cascades(session, &subject, (to, ordered), found).await?;
    let columns: Vec<&str> = table.columns.iter().filter(|c| !c.generated).map(|c| c.name.as_str()).collect();
    privileges(session, to, &columns, found).await?;
    if found.len() == before {
        let compared = if source.is_some() {
            "table, key, columns and privileges fit"
        } else {
            "table, key and privileges fit; the source's columns are not known here"
        };
        found.push(Finding::ok(subject, compared));
    }
    Ok(())
}

/// Cascades: what they change at the source is not in its binlog, so the target would keep those rows, unless its own
/// foreign keys are checked.
async fn cascades(
    session: &mut Session,
    subject: &str,
    (table, ordered): (&TableName, bool),
    found: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let keys: Vec<(String, String)> = session
        .rows(
            "SELECT CONSTRAINT_NAME, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE ((CONSTRAINT_SCHEMA = ? AND TABLE_NAME = ?) OR (UNIQUE_CONSTRAINT_SCHEMA = ? AND REFERENCED_TABLE_NAME = ?)) \
             AND (DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') OR UPDATE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))",
            [&table.schema, &table.table, &table.schema, &table.table].map(Value::from).into(),
        )
        .await?;
    for (key, child) in keys {
        if ordered {
            let message = format!(
                "the foreign key {key} of {child} cascades here, too (foreign_keys: ordered), which is right as long as the \
                 source does not write its cascades into its binlog; a server that does needs missing_row: ignore"
            );
            found.push(Finding::warning(subject, &Error::new(Code::TargetTable, message)));
            continue;
        }
        let message = format!(
            "the foreign key {key} of {child} cascades: rows that a cascade changes at the source are not in its binlog and stay as they are here; \
             set foreign_keys: ordered for the tables that it joins, or make it RESTRICT on both sides and change those rows in the \
             application"
        );
        found.push(Finding::error(subject, &Error::new(Code::TargetTable, message)));
    }
    Ok(())
}

/// Tries what apply does to a table, on no row.
async fn privileges(
    session: &mut Session,
    table: &TableName,
    columns: &[&str],
    found: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let name = format!("{}.{}", quote(&table.schema), quote(&table.table));
    let all = columns.iter().map(|c| quote(c)).collect::<Vec<_>>().join(", ");
    let set = columns.iter().map(|c| format!("{0} = {0}", quote(c))).collect::<Vec<_>>().join(", ");
    let attempts = [
        ("SELECT", format!("SELECT {all} FROM {name} WHERE FALSE")),
        ("INSERT", format!("INSERT INTO {name} ({all}) SELECT {all} FROM {name} WHERE FALSE")),
        ("UPDATE", format!("UPDATE {name} SET {set} WHERE FALSE")),
        ("DELETE", format!("DELETE FROM {name} WHERE FALSE")),
    ];
    session.run("START TRANSACTION").await?;
    for (privilege, sql) in attempts {
        match session.run(sql).await {
            Ok(_) => {}
            Err(failure) if failure.fault == Fault::Refused => {
                let message = format!("{privilege}: {}; run GRANT {privilege} ON {name}", failure.error.message());
                found.push(Finding::error(table.to_string(), &Error::new(failure.error.code(), message)));
            }
            Err(failure) => return Err(failure),
        }
    }
    session.run("ROLLBACK").await?;
    Ok(())
}

/// The column as its topic's schema has it.
fn writer_column(column: &Column) -> WriterColumn {
    let kind = match column.ty {
        ColumnType::Int { bytes: 8, unsigned: true } => DatumKind::Decimal { precision: 20, scale: 0 },
        ColumnType::Int { .. } => DatumKind::Int,
        ColumnType::Decimal { precision, scale } => DatumKind::Decimal { precision, scale },
        ColumnType::Float => DatumKind::Float,
        ColumnType::Double => DatumKind::Double,
        ColumnType::Date => DatumKind::Date,
        ColumnType::DateTime { fsp: 0..=3 } => DatumKind::TimestampMillis,
        ColumnType::DateTime { .. } => DatumKind::TimestampMicros,
        ColumnType::Timestamp { .. } => DatumKind::ZonedTimestamp,
        ColumnType::Time { .. } => DatumKind::MicroTime,
        ColumnType::Year => DatumKind::Year,
        ColumnType::Bit { bits: 1 } => DatumKind::Bool,
        ColumnType::Bit { bits } => DatumKind::Bits { bits },
        ColumnType::Enum { .. } => DatumKind::Enum,
        ColumnType::Set { .. } => DatumKind::Set,
        ColumnType::Json { .. } => DatumKind::Json,
        ColumnType::Text { .. } => DatumKind::Text,
        ColumnType::Binary { .. } | ColumnType::Bytes { .. } => DatumKind::Bytes,
    };
    let labels = match &column.ty {
        ColumnType::Enum { labels, .. } | ColumnType::Set { labels, .. } => labels.to_vec(),
        _ => Vec::new(),
    };
    WriterColumn { name: column.name.clone(), kind, nullable: column.nullable, labels }
}
