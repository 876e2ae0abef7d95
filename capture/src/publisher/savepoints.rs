//! SAVEPOINT and ROLLBACK TO inside one source transaction, over the offsets of its rows.
//!
//! The server leaves rolled-back rows in the binlog when the transaction also touched something that cannot be rolled
//! back (a MyISAM or temporary table); the statements around them then say which rows do not count. In row format the
//! non-transactional rows themselves travel in a transaction of their own, so everything between SAVEPOINT and
//! ROLLBACK TO is to be dropped.
//!
//! Offsets are those of [`super::ordinal`]: bytes of row images since the start of the transaction. Because they do not
//! depend on filters, the ranges found in one reading hold in the next.

use schemas::{Code, Error, Result};

/// Rows taken back: images whose offset is in `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Offset of the first dropped image.
    pub(crate) start: i64,
    /// Offset behind the last dropped image.
    pub(crate) end: i64,
}

impl Dropped {
    /// Whether an image at `offset` was taken back.
    pub(crate) fn contains(self, offset: i64) -> bool {
        (self.start..self.end).contains(&offset)
    }
}

/// The savepoints alive in a transaction, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Savepoints {
    alive: Vec<(String, i64)>,
}

impl Savepoints {
    /// SAVEPOINT `name` at `offset`; an older one of the same name is gone, as in the server.
    pub(crate) fn set(&mut self, name: &str, offset: i64) {
        let name = name.to_lowercase();
        self.alive.retain(|(other, _)| *other != name);
        self.alive.push((name, offset));
    }

    /// ROLLBACK TO `name` at `offset`: the rows dropped. The savepoint itself lives on, later ones are gone.
    pub(crate) fn rollback_to(&mut self, name: &str, offset: i64) -> Result<Dropped> {
        let name = name.to_lowercase();
        let found = self.alive.iter().position(|(other, _)| *other == name).ok_or_else(|| {
            let message = format!("ROLLBACK TO `{name}`, a savepoint that this transaction's binlog does not set");
            Error::new(Code::EventUnsupported, message)
        })?;
        self.alive.truncate(found + 1);
        Ok(Dropped { start: self.alive[found].1, end: offset })
    }

    /// Forgets all, at the end of the transaction.
    pub(crate) fn clear(&mut self) {
        self.alive.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollback_drops_from_the_savepoint_and_keeps_it() {
        let mut savepoints = Savepoints::default();
        savepoints.set("a", 10);
        savepoints.set("b", 20);
        assert_eq!(savepoints.rollback_to("A", 30).expect("a is alive"), Dropped { start: 10, end: 30 });
        assert_eq!(savepoints.rollback_to("b", 30).expect_err("b went with a").code(), Code::EventUnsupported);
        assert_eq!(savepoints.rollback_to("a", 50).expect("a lives on"), Dropped { start: 10, end: 50 });
    }

    #[test]
    fn a_savepoint_set_again_moves() {
        let mut savepoints = Savepoints::default();
        savepoints.set("a", 10);
        savepoints.set("b", 20);
        savepoints.set("a", 30);
        assert_eq!(savepoints.rollback_to("a", 40).expect("alive"), Dropped { start: 30, end: 40 });
        assert_eq!(savepoints.rollback_to("b", 40).expect("older than a"), Dropped { start: 20, end: 40 });
    }

    #[test]
    fn ends_are_exclusive() {
        let dropped = Dropped { start: 5, end: 9 };
        assert!(!dropped.contains(4) && dropped.contains(5) && dropped.contains(8) && !dropped.contains(9));
    }
}
