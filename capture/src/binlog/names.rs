//! How a server with `lower_case_table_names` spells the names of schemas and tables: pure.
//!
//! Such a server keeps and logs them in lower case, rows included, and takes any other spelling in a statement for the
//! same; the statement is logged as it was written. Letter by letter, as the server does it: a letter stays one letter.

use std::borrow::Cow;

use schemas::documents::Source;
use schemas::table::TableName;

use super::statement::{Ddl, Statement};

/// A name as such a server keeps it.
pub(super) fn in_lower_case(name: &str) -> Cow<'_, str> {
    let lower = |c: char| c.to_lowercase().next().unwrap_or(c);
    if name.chars().all(|c| lower(c) == c) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(lower).collect())
}

fn table_in_lower_case(table: &TableName) -> TableName {
    TableName::new(in_lower_case(&table.schema), in_lower_case(&table.table))
}

impl Statement {
    /// With the names of schemas and tables as such a server keeps them.
    #[must_use]
    pub fn in_lower_case(self) -> Self {
        match self {
            Self::Ddl(ddl) => Self::Ddl(Ddl {
                tables: ddl.tables.iter().map(table_in_lower_case).collect(),
                schema: ddl.schema.map(|schema| in_lower_case(&schema).into_owned()),
                ..ddl
            }),
            Self::Dml { table } => Self::Dml { table: table.as_ref().map(table_in_lower_case) },
            other => other,
        }
    }
}

/// A pattern of the document that no table of such a server can match, and what was meant.
pub(super) fn misspelled(source: &Source) -> Option<(String, String)> {
    let rules = source.tables.iter().map(|rule| rule.pattern.to_string());
    let overrides = source.topics.overrides.iter().map(|o| o.tables.to_string());
    rules.chain(overrides).find_map(|pattern| match in_lower_case(&pattern) {
        Cow::Borrowed(_) => None,
        Cow::Owned(meant) => Some((pattern, meant)),
    })
}

#[cfg(test)]
mod tests {
    use schemas::checkpoint::Flavor;

    use super::*;
    use crate::binlog::event::QueryEvent;
    use crate::binlog::statement::{DdlKind, classify};

    fn read(sql: &str) -> Statement {
        let sql = sql.as_bytes();
        let query = QueryEvent { schema: b"Shop", sql, error_code: 0, thread: 1, sql_mode: 0, charset: 0 };
        classify(&query, Flavor::Mariadb).in_lower_case()
    }

    #[test]
    fn names_are_folded_letter_by_letter() {
        assert_eq!(in_lower_case("Shop_Ä"), "shop_ä");
        assert_eq!(in_lower_case("İd"), "id", "not two letters");
        assert!(matches!(in_lower_case("shop.ß"), Cow::Borrowed(_)));
    }

    #[test]
    fn every_name_of_a_statement_is_folded() {
        let tables = |sql: &str| match read(sql) {
            Statement::Ddl(ddl) => (ddl.kind, ddl.tables),
            other => panic!("{other:?}"),
        };
        let t = TableName::new("shop", "t");
        assert_eq!(tables("TRUNCATE `T`"), (DdlKind::Truncate, vec![t.clone()]));
        assert_eq!(tables("RENAME TABLE SHOP.T TO Old.T2").1, [t.clone(), TableName::new("old", "t2")]);
        let Statement::Ddl(drop) = read("DROP DATABASE SHOP") else { panic!("a change of structure") };
        assert_eq!(drop.schema.as_deref(), Some("shop"));
        assert_eq!(read("DELETE FROM T"), Statement::Dml { table: Some(t) });
        assert_eq!(read("COMMIT"), Statement::Commit);
    }

    #[test]
    fn patterns_in_upper_case_are_found() {
        let source = |tables: serde_json::Value, overrides: serde_json::Value| -> Source {
            let topics = serde_json::json!({"overrides": overrides});
            let json = serde_json::json!({
                "name": "shop", "addresses": ["db:3306"], "user": "otter", "tables": tables, "topics": topics
            });
            serde_json::from_value(json).expect("a document")
        };
        let none = serde_json::json!([]);
        assert_eq!(misspelled(&source(serde_json::json!(["shop.*", "!shop.t_[00-09]"]), none.clone())), None);
        let wrong = misspelled(&source(serde_json::json!(["shop.*", "!shop.Secret"]), none));
        assert_eq!(wrong, Some(("shop.Secret".to_owned(), "shop.secret".to_owned())));
        let overrides = serde_json::json!([{"tables": "Shop.*", "partitions": 4}]);
        assert!(misspelled(&source(serde_json::json!(["shop.*"]), overrides)).is_some());
    }
}
