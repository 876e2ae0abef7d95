//! What the clauses of an ALTER TABLE amount to.

use schemas::table::TableName;

use super::lexer::Token;
use super::{DdlKind, Reader};

/// What one clause does. The worst of a statement's clauses decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clause {
    Untouched,
    Column,
    Other,
}

/// Words that begin clauses without effect on rows and columns.
const UNTOUCHED: &[&str] = &[
    "ALGORITHM",
    "LOCK",
    "COMMENT",
    "AUTO_INCREMENT",
    "ENGINE",
    "ROW_FORMAT",
    "FORCE",
    "ENABLE",
    "DISABLE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "DELAY_KEY_WRITE",
    "PACK_KEYS",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
    "TRANSACTIONAL",
    "NOWAIT",
    "ALTER",
];
/// What ADD and DROP take besides columns, when only a secondary index is meant.
const INDEXES: &[&str] = &["INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"];
/// What ADD and DROP take besides columns, when more than an index changes.
const OTHERS: &[&str] = &["PRIMARY", "FOREIGN", "CONSTRAINT", "CHECK", "PARTITION", "PERIOD", "SYSTEM"];

/// The kind of the change that the clauses behind the table's name make, and the table's new name if it gets one.
pub(super) fn kind(reader: &mut Reader<'_>) -> (DdlKind, Option<TableName>) {
    let mut worst = Clause::Untouched;
    let mut renamed = None;
    loop {
        let clause = match reader.lexer.next() {
            None => break,
            Some(Token::Sign(b',' | b';')) => continue,
            Some(token) if token.is("ADD") => add(reader),
            Some(token) if token.is("DROP") => drop(reader),
            Some(token) if token.is("RENAME") => rename(reader, &mut renamed),
            Some(token) if token.is_any(UNTOUCHED) => Clause::Untouched,
            Some(_) => Clause::Other,
        };
        worst = worst.max(clause).max(rest(reader, clause == Clause::Column));
    }
    let kind = match worst {
        Clause::Untouched => DdlKind::RowsUntouched,
        Clause::Column => DdlKind::AddOrDropColumnOnly,
        Clause::Other => DdlKind::Other,
    };
    (kind, renamed)
}

fn add(reader: &mut Reader<'_>) -> Clause {
    let column = reader.lexer.accept("COLUMN");
    reader.if_exists();
    match reader.lexer.peek() {
        Some(token) if !column && token.is_any(INDEXES) => Clause::Untouched,
        Some(token) if !column && token.is_any(OTHERS) => Clause::Other,
        Some(_) => Clause::Column,
        None => Clause::Other,
    }
}

fn drop(reader: &mut Reader<'_>) -> Clause {
    let column = reader.lexer.accept("COLUMN");
    if !column && reader.lexer.peek().is_some_and(|t| t.is_any(INDEXES)) {
        reader.lexer.next();
        reader.if_exists();
        // DROP INDEX `PRIMARY` drops the key.
        let primary = reader.name().eq_ignore_ascii_case("PRIMARY");
        return if primary { Clause::Other } else { Clause::Untouched };
    }
    reader.if_exists();
    match reader.lexer.peek() {
        Some(token) if !column && token.is_any(OTHERS) => Clause::Other,
        Some(_) => {
            reader.lexer.next(); // the name may be any word
            Clause::Column
        }
        None => Clause::Other,
    }
}

fn rename(reader: &mut Reader<'_>, renamed: &mut Option<TableName>) -> Clause {
    if reader.lexer.peek().is_some_and(|t| t.is_any(&["INDEX", "KEY"])) {
        return Clause::Untouched;
    }
    if reader.lexer.peek().is_some_and(|t| t.is("COLUMN")) {
        return Clause::Other;
    }
    if !reader.lexer.accept("TO") && !reader.lexer.accept("AS") {
        reader.lexer.accept_sign(b'=');
    }
    *renamed = reader.table();
    Clause::Other
}

/// Reads up to the comma that ends the clause, looking for what makes more of it than it seemed: partitions, which
/// need no comma before them, and a key in a column's definition.
fn rest(reader: &mut Reader<'_>, column: bool) -> Clause {
    let mut worst = Clause::Untouched;
    let mut depth = 0_usize;
    let mut unique = false;
    loop {
        match reader.lexer.peek() {
            None => break,
            Some(Token::Sign(b',')) if depth == 0 => break,
            Some(Token::Sign(b'(')) => depth += 1,
            Some(Token::Sign(b')')) => depth = depth.saturating_sub(1),
            Some(token) => {
                let partitions = depth == 0 && token.is_any(&["PARTITION", "PARTITIONING", "VERSIONING"]);
                let key = column && (token.is_any(&["PRIMARY", "REFERENCES"]) || (token.is("KEY") && !unique));
                if partitions || key {
                    worst = Clause::Other;
                }
                unique = token.is("UNIQUE");
            }
        }
        reader.lexer.next();
    }
    worst
}
