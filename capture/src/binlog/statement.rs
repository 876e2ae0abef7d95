//! What the text of a QUERY event does.
//!
//! The front end is tolerant: it reads only as far as it needs, understands comments, quoting and MariaDB's executable
//! comments, and never fails. What it does not recognise it says so ([`Statement::Unknown`]), and where it cannot tell
//! which tables a structure change touches, `complete` is false: the caller must then assume the worst.

mod alter;
mod lexer;

use schemas::checkpoint::Flavor;
use schemas::table::TableName;

use super::event::QueryEvent;
use lexer::{Lexer, Token};

/// What a statement does, as far as the binlog of row changes is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Begins a group (servers before GTIDs, and MyISAM).
    Begin,
    /// Ends a group.
    Commit,
    /// Ends a group whose transactional changes are undone.
    Rollback,
    /// Marks a point to roll back to.
    Savepoint(String),
    /// Undoes the transactional changes since the savepoint.
    RollbackTo(String),
    /// Forgets a savepoint.
    ReleaseSavepoint(String),
    /// A step of an XA transaction.
    Xa(Xa),
    /// A change of structure, or TRUNCATE.
    Ddl(Ddl),
    /// Rows changed by a statement instead of rows events.
    Dml {
        /// The one table that it can have changed; `None` where triggers, joins or routines may have changed others.
        table: Option<TableName>,
    },
    /// Nothing that changes rows or the structure of tables.
    Harmless,
    /// Not recognised: it may have changed anything.
    Unknown,
}

/// The steps of an XA transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Xa {
    /// XA START or BEGIN.
    Start,
    /// XA END.
    End,
    /// XA PREPARE.
    Prepare,
    /// XA COMMIT.
    Commit,
    /// XA ROLLBACK.
    Rollback,
}

/// A change of structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// The statement in two words, such as `ALTER TABLE`.
    pub verb: &'static str,
    /// The tables it names, all of them where `complete`.
    pub tables: Vec<TableName>,
    /// The schema that it concerns as a whole (DROP DATABASE).
    pub schema: Option<String>,
    /// What kind of change it is.
    pub kind: DdlKind,
    /// Whether every table that it touches is in `tables` or `schema`.
    pub complete: bool,
}

impl Ddl {
    /// Whether it may touch the table.
    pub fn touches(&self, table: &TableName) -> bool {
        !self.complete || self.schema.as_deref() == Some(table.schema.as_str()) || self.tables.contains(table)
    }
}

/// What a change of structure means for the row events of its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdlKind {
    /// ALTER TABLE that only adds or drops columns.
    AddOrDropColumnOnly,
    /// CREATE TABLE, also with SELECT or LIKE.
    CreateTable,
    /// TRUNCATE TABLE.
    Truncate,
    /// Neither rows nor columns change: secondary indexes, comments, storage options.
    RowsUntouched,
    /// Anything else: columns changed or renamed, keys, partitions, RENAME, DROP.
    Other,
}

/// What a QUERY event's text does on this kind of server.
pub fn classify(query: &QueryEvent<'_>, flavor: Flavor) -> Statement {
    // In some character sets a letter may end in the byte of a quote or backslash, and all but UTF-8 hide names.
    let readable = query.is_utf8() || query.sql.is_ascii();
    let lexer = Lexer::new(query.sql, query.sql_mode, flavor);
    Reader { lexer, schema: query.schema, sound: readable }.statement()
}

/// Words that begin statements without any effect on rows or the structure of tables.
const HARMLESS: &[&str] = &[
    "SET",
    "GRANT",
    "REVOKE",
    "FLUSH",
    "OPTIMIZE",
    "REPAIR",
    "CHECK",
    "CHECKSUM",
    "KILL",
    "RESET",
    "INSTALL",
    "UNINSTALL",
    "USE",
    "SHOW",
    "LOCK",
    "UNLOCK",
    "PURGE",
    "CHANGE",
    "STOP",
    "BACKUP",
    "SIGNAL",
];
/// Words that begin statements which change rows, or call what may.
const CHANGES: &[&str] =
    &["INSERT", "UPDATE", "REPLACE", "LOAD", "CALL", "DO", "SELECT", "WITH", "VALUES", "EXECUTE", "HANDLER", "IMPORT"];

struct Reader<'a> {
    lexer: Lexer<'a>,
    schema: &'a [u8],
    /// Whether every name so far was where it should be, and UTF-8.
    sound: bool,
}

impl Reader<'_> {
    fn statement(mut self) -> Statement {
        let Some(first) = self.lexer.next() else { return Statement::Harmless };
        if first.is("SET") && self.lexer.accept("STATEMENT") {
            // SET STATEMENT variable=value, … FOR the statement itself.
            while !self.lexer.next().is_none_or(|token| token.is("FOR")) {}
            return self.statement();
        }
        let Token::Word(word) = &first else { return Statement::Unknown };
        match word.to_ascii_uppercase().as_slice() {
            b"BEGIN" if !self.lexer.accept("NOT") => Statement::Begin,
            b"START" if self.lexer.accept("TRANSACTION") => Statement::Begin,
            b"START" => Statement::Harmless,
            b"COMMIT" => Statement::Commit,
            b"ROLLBACK" => self.rollback(),
            b"SAVEPOINT" => Statement::Savepoint(self.name()),
            b"RELEASE" if self.lexer.accept("SAVEPOINT") => Statement::ReleaseSavepoint(self.name()),
            b"XA" => self.xa(),
            b"CREATE" => self.create(),
            b"ALTER" => self.alter(),
            b"DROP" => self.drop(),
            b"RENAME" => self.rename(),
            b"TRUNCATE" => {
                self.lexer.accept("TABLE");
                self.one_table("TRUNCATE TABLE", DdlKind::Truncate)
            }
            b"ANALYZE" => {
                let table = self.lexer.next().is_some_and(|t| t.is_any(&["TABLE", "LOCAL", "NO_WRITE_TO_BINLOG"]));
                if table { Statement::Harmless } else { Statement::Dml { table: None } }
            }
            b"DELETE" => self.delete(),
            _ if first.is_any(CHANGES) => Statement::Dml { table: None },
            _ if first.is_any(HARMLESS) => Statement::Harmless,
            _ => Statement::Unknown,
        }
    }

    fn rollback(mut self) -> Statement {
        self.lexer.accept("WORK");
        if !self.lexer.accept("TO") {
            return Statement::Rollback;
        }
        self.lexer.accept("SAVEPOINT");
        Statement::RollbackTo(self.name())
    }

    fn xa(mut self) -> Statement {
        let steps = [
            ("START", Xa::Start),
            ("BEGIN", Xa::Start),
            ("END", Xa::End),
            ("PREPARE", Xa::Prepare),
            ("COMMIT", Xa::Commit),
            ("ROLLBACK", Xa::Rollback),
        ];
        let step = self.lexer.next();
        let found = steps.iter().find(|(word, _)| step.as_ref().is_some_and(|t| t.is(word)));
        found.map_or(Statement::Unknown, |(_, step)| Statement::Xa(*step))
    }

    /// `DELETE FROM t` alone is what a server logs when it finds a MEMORY table empty after a restart.
    fn delete(mut self) -> Statement {
        if !self.lexer.accept("FROM") {
            return Statement::Dml { table: None };
        }
        let table = self.table();
        let alone = self.sound && self.lexer.peek().is_none();
        Statement::Dml { table: table.filter(|_| alone) }
    }

    /// The first of these object words, past modifiers such as OR REPLACE, DEFINER=… or UNIQUE.
    fn object(&mut self) -> Option<&'static str> {
        const OBJECTS: [&str; 22] = [
            "TABLE",
            "TABLES",
            "INDEX",
            "DATABASE",
            "SCHEMA",
            "VIEW",
            "TRIGGER",
            "PROCEDURE",
            "FUNCTION",
            "PACKAGE",
            "EVENT",
            "USER",
            "ROLE",
            "SERVER",
            "SEQUENCE",
            "LIBRARY",
            "REFERENCE",
            "TABLESPACE",
            "LOGFILE",
            "PREPARE",
            "INSTANCE",
            "TEMPORARY",
        ];
        for token in self.lexer.by_ref() {
            if let Some(object) = OBJECTS.iter().find(|o| token.is(o)) {
                return Some(object);
            }
        }
        None
    }

    fn create(mut self) -> Statement {
        let replace = self.lexer.accept("OR");
        match self.object() {
            Some("TABLE") => {
                self.if_exists();
                // OR REPLACE drops the rows of a table of the same name.
                let kind = if replace { DdlKind::Other } else { DdlKind::CreateTable };
                self.one_table("CREATE TABLE", kind)
            }
            Some("INDEX") => self.index("CREATE INDEX"),
            Some(_) => Statement::Harmless,
            None => Statement::Unknown,
        }
    }

    /// The table of CREATE INDEX or DROP INDEX.
    fn index(mut self, verb: &'static str) -> Statement {
        self.if_exists();
        let primary = self.name().eq_ignore_ascii_case("PRIMARY");
        while !self.lexer.next().is_none_or(|token| token.is("ON")) {}
        self.one_table(verb, if primary { DdlKind::Other } else { DdlKind::RowsUntouched })
    }

    fn alter(mut self) -> Statement {
        match self.object() {
            Some("TABLE") => {}
            Some(_) => return Statement::Harmless,
            None => return Statement::Unknown,
        }
        self.if_exists();
        let mut tables: Vec<TableName> = self.table().into_iter().collect();
        self.wait();
        let (kind, renamed) = alter::kind(&mut self);
        tables.extend(renamed);
        Statement::Ddl(self.ddl("ALTER TABLE", tables, kind))
    }

    fn drop(mut self) -> Statement {
        match self.object() {
            Some("TABLE" | "TABLES") => {
                self.if_exists();
                let mut tables = Vec::new();
                loop {
                    tables.extend(self.table());
                    if !self.lexer.accept_sign(b',') {
                        break;
                    }
                }
                Statement::Ddl(self.ddl("DROP TABLE", tables, DdlKind::Other))
            }
            Some("INDEX") => self.index("DROP INDEX"),
            Some("DATABASE" | "SCHEMA") => {
                self.if_exists();
                let schema = Some(self.name());
                Statement::Ddl(Ddl { schema, ..self.ddl("DROP DATABASE", Vec::new(), DdlKind::Other) })
            }
            // TEMPORARY comes before TABLE.
            Some(_) => Statement::Harmless,
            None => Statement::Unknown,
        }
    }

    fn rename(mut self) -> Statement {
        if !self.lexer.next().is_some_and(|token| token.is_any(&["TABLE", "TABLES"])) {
            return Statement::Harmless;
        }
        self.if_exists();
        let mut tables = Vec::new();
        loop {
            tables.extend(self.table());
            self.wait();
            self.sound &= self.lexer.accept("TO");
            tables.extend(self.table());
            if !self.lexer.accept_sign(b',') {
                break;
            }
        }
        Statement::Ddl(self.ddl("RENAME TABLE", tables, DdlKind::Other))
    }

    fn one_table(mut self, verb: &'static str, kind: DdlKind) -> Statement {
        let tables = self.table().into_iter().collect();
        Statement::Ddl(self.ddl(verb, tables, kind))
    }

    fn ddl(&self, verb: &'static str, tables: Vec<TableName>, kind: DdlKind) -> Ddl {
        Ddl { verb, tables, schema: None, kind, complete: self.sound }
    }

    fn if_exists(&mut self) {
        if self.lexer.accept("IF") {
            self.lexer.accept("NOT");
            self.lexer.accept("EXISTS");
        }
    }

    /// `WAIT n` and `NOWAIT` behind a table's name.
    fn wait(&mut self) {
        if self.lexer.accept("WAIT") {
            self.lexer.next();
        } else {
            self.lexer.accept("NOWAIT");
        }
    }

    /// `schema.table`, or `table` in the default schema.
    fn table(&mut self) -> Option<TableName> {
        let first = self.identifier()?;
        if self.lexer.accept_sign(b'.') {
            let table = self.identifier()?;
            return Some(TableName::new(first, table));
        }
        let schema = self.utf8(self.schema.to_vec());
        Some(TableName::new(schema, first))
    }

    fn name(&mut self) -> String {
        self.identifier().unwrap_or_default()
    }

    fn identifier(&mut self) -> Option<String> {
        let bytes = match self.lexer.peek() {
            Some(Token::Word(word)) => word.to_vec(),
            Some(Token::Name(name)) => name.clone(),
            _ => {
                self.sound = false;
                return None;
            }
        };
        self.lexer.next();
        Some(self.utf8(bytes))
    }

    /// A name in another character set cannot be told: the statement may then be about any table.
    fn utf8(&mut self, bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap_or_else(|error| {
            self.sound = false;
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        })
    }
}

#[cfg(test)]
mod tests;
