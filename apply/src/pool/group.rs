//! Several lanes in one target transaction: group commit.
//!
//! A lane that has written its batch, when all connections are taken and others wait for one, gives its connection with
//! the transaction still open to the next of them instead of committing; the last one commits for all and tells them. With
//! many lanes of small batches that is one commit, and one flush of the target's log, for many batches.
//!
//! Why it is right. Each part begins with its lane's own progress update, by token and old offset, so the transaction
//! holds nothing of a lane that was somebody else's when its part was written; and from then on the row lock of that
//! update keeps everybody from claiming the lane until the transaction has ended. So whenever it commits, and whoever does,
//! every part is exactly once, also that of a lane which was cancelled meanwhile and waits for no answer: its next owner
//! reads the row behind the lock and finds either the old offset or the new one with all rows. Parts are written one after
//! the other, so the rows are as if each had been committed alone, in that order.
//!
//! A lane moves its own idea of its position, and forgets the records, only when told of the commit ([`Told::Committed`]).
//! Told of a rollback it writes the same batch again, alone, with its own serial fallback. Told nothing, because the
//! connection was lost or dropped on the way, it knows nothing and claims again. The transaction is never kept open
//! for anything but a lane that waits for a connection with its records in hand; a group ends at [`MOST_LANES`],
//! [`LONGEST`], and at the limits of one batch.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Lanes of one transaction.
const MOST_LANES: usize = 32;
/// After this time no lane is added.
const LONGEST: Duration = Duration::from_millis(10);

/// How a transaction ended in which a lane has a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is committed.
    Committed,
    /// It was rolled back: write the batch alone.
    RolledBack,
}

/// What a lane adds to a transaction, or may add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Events.
    pub(crate) rows: usize,
    /// Their bytes.
    pub(crate) bytes: usize,
}

/// A transaction that has parts of other lanes. Dropped, it leaves them without an answer.
#[derive(Debug)]
pub(crate) struct Group {
    began: Instant,
    size: Size,
    members: Vec<oneshot::Sender<Told>>,
}

impl Group {
    /// One that begins now.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), size: Size::default(), members: Vec::new() }
    }

    /// Whether a part of this size fits into it.
    pub(crate) fn admits(&self, part: Size, limit: Size) -> bool {
        self.size.rows + part.rows <= limit.rows && self.size.bytes + part.bytes <= limit.bytes
    }

    /// Whether another lane may be added behind a last part of this size.
    pub(crate) fn goes_on(&self, part: Size, limit: Size) -> bool {
        self.members.len() + 1 < MOST_LANES && self.began.elapsed() < LONGEST && self.admits(part, limit)
    }

    /// Adds a lane that has written its part and leaves; it will be told.
    pub(crate) fn add(&mut self, part: Size) -> oneshot::Receiver<Told> {
        self.size = Size { rows: self.size.rows + part.rows, bytes: self.size.bytes + part.bytes };
        let (member, told) = oneshot::channel();
        self.members.push(member);
        told
    }

    /// Takes back the last one added: it stays.
    pub(crate) fn withdraw(&mut self, part: Size) {
        self.size = Size { rows: self.size.rows - part.rows, bytes: self.size.bytes - part.bytes };
        drop(self.members.pop());
    }

    /// Tells all how it ended; their number.
    pub(crate) fn tell(self, told: Told) -> usize {
        let count = self.members.len();
        for member in self.members {
            if member.send(told).is_err() {
                tracing::debug!("a lane of the group has ended meanwhile");
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Size = Size { rows: 100, bytes: 1000 };

    #[test]
    fn a_group_ends_at_its_bounds() {
        let mut group = Group::new();
        let part = Size { rows: 40, bytes: 10 };
        assert!(group.goes_on(part, LIMIT));
        drop(group.add(part));
        assert!(group.admits(Size { rows: 60, bytes: 990 }, LIMIT));
        assert!(!group.admits(Size { rows: 61, bytes: 0 }, LIMIT));
        assert!(!group.admits(Size { rows: 0, bytes: 991 }, LIMIT));
        for _ in 1..MOST_LANES - 1 {
            assert!(group.goes_on(Size::default(), LIMIT));
            drop(group.add(Size::default()));
        }
        assert!(!group.goes_on(Size::default(), LIMIT));
    }

    #[test]
    fn all_are_told_or_none() {
        let mut group = Group::new();
        let mut told: Vec<_> = (0..3).map(|_| group.add(Size { rows: 1, bytes: 1 })).collect();
        drop(told.remove(0));
        assert_eq!(group.tell(Told::Committed), 3);
        for mut told in told {
            assert_eq!(told.try_recv(), Ok(Told::Committed));
        }
        let mut group = Group::new();
        let mut told = group.add(Size { rows: 1, bytes: 1 });
        drop(group);
        assert!(told.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed));
    }
}
