//! Which statements in the binlog may pass: pure.
//!
//! The rule: nothing passes that changed rows of a followed table other than by rows events, nor a change of a followed
//! table's structure that the targets would have to know about. TRUNCATE is told by a barrier. In doubt the source stops;
//! its position stays before the statement.

use schemas::table::TableName;
use schemas::{Code, Error, Result};

use super::plans::Followed;
use crate::binlog::statement::{Ddl, DdlKind, Statement};

/// What becomes of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// It passes.
    Pass,
    /// All rows of this followed table went.
    Truncate(&'a TableName),
}

/// Lets the statement pass, wants something done, or says why neither. `sole` is a statement that is a transaction by
/// itself and was not made among the temporary tables of a session, whose names may be those of followed ones.
///
/// # Errors
/// `DdlUnsupported`, `StatementLogged`, `EventUnsupported`.
pub(crate) fn judge<'a>(statement: &'a Statement, followed: &Followed, sole: bool) -> Result<Verdict<'a>> {
    match statement {
        Statement::Ddl(Ddl { kind: DdlKind::Truncate, tables, complete: true, .. }) if sole => {
            match tables.as_slice() {
                [table] if followed.contains(table) => Ok(Verdict::Truncate(table)),
                _ => Ok(Verdict::Pass),
            }
        }
        Statement::Ddl(ddl) => judge_ddl(ddl, followed),
        Statement::Dml { table: Some(table) } if !followed.contains(table) => Ok(Verdict::Pass),
        Statement::Dml { table } => {
            let what = table.as_ref().map_or_else(|| "tables that it does not name".to_owned(), ToString::to_string);
            Err(Error::new(Code::StatementLogged, format!("a statement changed {what} without rows events")))
        }
        Statement::Unknown => {
            let message = "a statement that is not recognised: it may have changed a followed table";
            Err(Error::new(Code::EventUnsupported, message))
        }
        _ => Ok(Verdict::Pass),
    }
}

fn judge_ddl<'a>(ddl: &Ddl, followed: &Followed) -> Result<Verdict<'a>> {
    match ddl.kind {
        // What the rows look like afterwards is in their table maps.
        DdlKind::AddOrDropColumnOnly | DdlKind::CreateTable | DdlKind::RowsUntouched => return Ok(Verdict::Pass),
        DdlKind::Truncate | DdlKind::Other => {}
    }
    let concerned = if let Some(table) = ddl.tables.iter().find(|table| followed.contains(table)) {
        table.to_string()
    } else if let Some(schema) = ddl.schema.as_ref().filter(|schema| followed.may_contain(schema)) {
        format!("the schema {schema}")
    } else if !ddl.complete {
        "a table that it does not name".to_owned()
    } else {
        return Ok(Verdict::Pass);
    };
    Err(Error::new(Code::DdlUnsupported, format!("{} concerns {concerned}, which is followed", ddl.verb)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemas::documents::Source;

    use super::*;

    fn followed() -> Followed {
        let json = r#"{"name":"shop","addresses":["db:3306"],"user":"otter","tables":["shop.*","!shop.audit"]}"#;
        let source: Source = serde_json::from_str(json).unwrap();
        let own = Arc::new(std::iter::once("ops".to_owned()).collect());
        Followed { source: Arc::new(source), own }
    }

    fn ddl(kind: DdlKind, table: &str) -> Ddl {
        let tables = vec![TableName::new("shop", table)];
        Ddl { verb: "ALTER TABLE", tables, schema: None, kind, complete: true }
    }

    fn code(statement: &Statement) -> Option<Code> {
        judge(statement, &followed(), false).err().map(|e| e.code())
    }

    #[test]
    fn structure_changes_pass_where_table_maps_tell_all() {
        for kind in [DdlKind::AddOrDropColumnOnly, DdlKind::CreateTable, DdlKind::RowsUntouched] {
            assert_eq!(code(&Statement::Ddl(ddl(kind, "t"))), None);
        }
        for kind in [DdlKind::Truncate, DdlKind::Other] {
            assert_eq!(code(&Statement::Ddl(ddl(kind, "t"))), Some(Code::DdlUnsupported));
            assert_eq!(code(&Statement::Ddl(ddl(kind, "audit"))), None);
        }
    }

    #[test]
    fn truncate_is_told_where_it_is_sure_which_table_it_is() {
        let truncate = |table: &str, complete| Statement::Ddl(Ddl { complete, ..ddl(DdlKind::Truncate, table) });
        let sure = truncate("t", true);
        let name = TableName::new("shop", "t");
        assert_eq!(judge(&sure, &followed(), true).unwrap(), Verdict::Truncate(&name));
        assert_eq!(judge(&truncate("audit", true), &followed(), true).unwrap(), Verdict::Pass);
        let refused = |statement: &Statement, sole| judge(statement, &followed(), sole).unwrap_err().code();
        assert_eq!(refused(&sure, false), Code::DdlUnsupported);
        assert_eq!(refused(&truncate("t", false), true), Code::DdlUnsupported);
        assert_eq!(refused(&truncate("audit", false), true), Code::DdlUnsupported);
    }

    #[test]
    fn doubt_stops() {
        let doubtful = Ddl { complete: false, ..ddl(DdlKind::Other, "audit") };
        assert_eq!(code(&Statement::Ddl(doubtful)), Some(Code::DdlUnsupported));
        let drop = |schema: &str| {
            let schema = Some(schema.to_owned());
            Statement::Ddl(Ddl { tables: Vec::new(), schema, ..ddl(DdlKind::Other, "t") })
        };
        assert_eq!(code(&drop("shop")), Some(Code::DdlUnsupported));
        assert_eq!(code(&drop("crm")), None);
        assert_eq!(code(&Statement::Unknown), Some(Code::EventUnsupported));
    }

    #[test]
    fn rows_changed_by_statements_stop() {
        let dml = |table: Option<&str>| Statement::Dml { table: table.map(|t| TableName::new("shop", t)) };
        assert_eq!(code(&dml(Some("t"))), Some(Code::StatementLogged));
        assert_eq!(code(&dml(Some("audit"))), None);
        assert_eq!(code(&dml(None)), Some(Code::StatementLogged));
    }

    #[test]
    fn own_tables_are_not_followed() {
        let followed = followed();
        assert!(!followed.contains(&TableName::new("ops", "progress")));
        assert!(!followed.contains(&TableName::new("otter", "progress")));
        assert!(followed.contains(&TableName::new("shop", "progress")));
    }
}
