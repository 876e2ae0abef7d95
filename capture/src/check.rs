//! `otter check` of a source: is it reachable, may the user read the binlog, is the server set as it must be, and do
//! the followed tables hold only what can be carried.
//!
//! Nothing is changed on the server. Every finding that is not fine holds the exact SQL, or the line of configuration,
//! that puts it right. Failures to ask become findings themselves.

mod kafka;
mod structure;

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::{FromRow, Queryable};
use schemas::charset::Charset;
use schemas::check::{Finding, Level};
use schemas::checkpoint::Flavor;
use schemas::documents::Source;
use schemas::table::TableName;
use schemas::{Code, Error, Result};

use crate::binlog::server::{self, SourceServer};

pub use kafka::check_kafka;
pub use structure::source_tables;

/// How long the server has for a look through its catalogue.
const CATALOGUE: Duration = Duration::from_secs(60);

/// Checks a source document against its server.
pub async fn check(source: &Source) -> Vec<Finding> {
    let subject = format!("source {}", source.name);
    let (server, verdicts) = match server::inspect(source).await {
        Ok(inspected) => inspected,
        Err(error) => return vec![Finding::error(subject, &error)],
    };
    let mut findings = vec![Finding::ok(&subject, format!("{} answers", server.address))];
    findings.extend(verdicts.iter().map(|v| v.finding(source.name.as_str())));
    // A server of another kind has another catalogue.
    if verdicts.first().is_some_and(|version| version.level == Level::Ok) {
        match tables(source, &server).await {
            Ok(of_tables) => findings.extend(of_tables),
            Err(error) => findings.push(Finding::error(format!("{subject}: tables"), &error)),
        }
    }
    findings
}

async fn tables(source: &Source, server: &SourceServer) -> Result<Vec<Finding>> {
    let mut conn = server.connection().await?;
    let mut findings = Vec::new();
    let names: Vec<(String, String, String)> = ask(server, &mut conn, TABLES).await?;
    let mut followed = BTreeSet::new();
    for (schema, table, kind) in names {
        let name = TableName::new(schema, table);
        if kind != "VIEW" && source.follows(&name) {
            findings.extend(odd_table(&name, &kind));
            followed.insert(name);
        }
    }
    findings.extend(missing(source, server, &followed));
    let columns: Vec<(String, String, String, String, Option<String>, bool)> = ask(server, &mut conn, COLUMNS).await?;
    for (schema, table, column, column_type, charset, carried) in columns {
        let name = TableName::new(schema, table);
        let unknown = charset.filter(|charset| Charset::of(charset).is_none());
        if followed.contains(&name) && (!carried || unknown.is_some()) {
            let what = unknown.map_or_else(|| column_type.clone(), |charset| format!("{column_type} in {charset}"));
            let message = format!("column {column} is of type {what}, which this version does not carry");
            let finding = Finding::error(name.to_string(), &Error::new(Code::TypeUnsupported, message));
            findings.push(Finding { remedy: exclusion(&name), ..finding });
        }
    }
    // MySQL carries cascades out above its storage engines since 9.6, and logs them.
    let logged = server.flavor == Flavor::Mysql && server.is_from((9, 6, 0));
    let cascades: Vec<(String, String, String)> =
        if logged { Vec::new() } else { ask(server, &mut conn, CASCADES).await? };
    for (schema, table, constraint) in cascades {
        let name = TableName::new(schema, table);
        if followed.contains(&name) {
            findings.push(Finding {
                level: Level::Warning,
                subject: name.to_string(),
                code: None,
                message: format!("foreign key {constraint} cascades, and cascaded changes are not in the binlog"),
                remedy: format!("make the constraint RESTRICT, or give the target of {name} the same foreign key"),
            });
        }
    }
    if findings.iter().all(|f| f.level == Level::Ok) {
        let message = format!("followed tables: {}, all of types that are carried", followed.len());
        findings.push(Finding::ok(format!("source {}: tables", source.name), message));
    }
    if let Err(error) = conn.disconnect().await {
        tracing::debug!(%error, "a connection to the source did not close in order");
    }
    Ok(findings)
}

/// Tables that are more than rows.
fn odd_table(name: &TableName, kind: &str) -> Option<Finding> {
    if kind != "SYSTEM VERSIONED" && kind != "SEQUENCE" {
        return None;
    }
    let message = format!("it is a {} table, which this version does not carry", kind.to_lowercase());
    let finding = Finding::error(name.to_string(), &Error::new(Code::TypeUnsupported, message));
    Some(Finding { remedy: exclusion(name), ..finding })
}

/// Tables that the document names and the server does not show.
fn missing(source: &Source, server: &SourceServer, followed: &BTreeSet<TableName>) -> Vec<Finding> {
    let named = source.tables.iter().filter(|rule| !rule.exclude).filter_map(|rule| rule.pattern.exact());
    named
        .filter(|name| source.follows(name) && !followed.contains(name))
        .map(|name| Finding {
            level: Level::Warning,
            subject: name.to_string(),
            code: None,
            message: format!("the server does not show this table to {}", server.user),
            remedy: format!(
                "create it, or GRANT SELECT ON `{}`.`{}` TO {}",
                name.schema.replace('`', "``"),
                name.table.replace('`', "``"),
                server.user
            ),
        })
        .collect()
}

fn exclusion(name: &TableName) -> String {
    format!("add \"!{name}\" to the source's `tables`, or change the table")
}

async fn ask<T: FromRow + Send + 'static>(server: &SourceServer, conn: &mut Conn, sql: &str) -> Result<Vec<T>> {
    match tokio::time::timeout(CATALOGUE, conn.query(sql)).await {
        Ok(rows) => rows.map_err(|e| server.failed("look through the server's catalogue", e)),
        Err(_) => {
            let message = format!("{}: the catalogue was not read within {CATALOGUE:?}", server.address);
            Err(Error::new(Code::SourceUnreachable, message))
        }
    }
}

const TABLES: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES \
    WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')";

/// Columns that may not be carried, with what they are: type, and character set where there is one. Old temporal formats
/// and compression show as comments.
const COLUMNS: &str = "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, \
      DATA_TYPE IN ('tinyint', 'smallint', 'mediumint', 'int', 'bigint', 'decimal', 'float', 'double', 'bit', 'year', \
         'date', 'datetime', 'timestamp', 'time', 'char', 'varchar', 'tinytext', 'text', 'mediumtext', 'longtext', \
         'binary', 'varbinary', 'tinyblob', 'blob', 'mediumblob', 'longblob', 'enum', 'set', 'json') \
      AND COLUMN_TYPE NOT LIKE '%COMPRESSED%' AND COLUMN_TYPE NOT LIKE '%mariadb-5.3%' \
    FROM information_schema.COLUMNS \
    WHERE TABLE_SCHEMA NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys') \
    ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION";

const CASCADES: &str = "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME \
    FROM information_schema.REFERENTIAL_CONSTRAINTS \
    WHERE DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL') \
    ORDER BY CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME";
