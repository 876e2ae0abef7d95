//! The changes of one batch, and their net effect per key. Pure.
//!
//! The net effect equals serial application: for each Kafka key (the source's primary key, bytewise) only the state
//! before the first change and after the last one matter, as long as the changes fit together (no insert of a row that
//! is there, no update or delete of one that is not). Where they do not fit, the batch must be applied serially, so that
//! the mapping's policies see every event. Each key's demand on the target (row present, row absent) is kept, so that a
//! count that does not fit shows.
//!
//! Changes of a source's table without a primary key have no Kafka key and stay in order.
//!
//! A key record cannot say what only `exact` can: `0000-00-00` and 1970-01-01 have the same one. In a batch with such
//! values two changes are therefore of one row only where the second finds what the first left; else it goes serially.

use std::collections::HashMap;
use std::ops::Range;

use schemas::decode::Datum;
use schemas::encode::Op;

use super::value::same;

/// One change, its values in the arena of its [`Batch`].
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// Offset of the record in the lane.
    pub offset: i64,
    /// Ordinal of the event.
    pub ordinal: i64,
    /// Kafka key of the record, framed.
    pub key: &'a [u8],
    /// What happened.
    pub op: Op,
    before: Option<Range<usize>>,
    after: Option<Range<usize>>,
}

/// The changes of one lane in order of offset, all of one writer schema; values borrow from the records.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    changes: Vec<Change<'a>>,
    datums: Vec<Datum<'a>>,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change. `before` is empty for an insert, `after` for a delete; else they hold a datum per writer column.
    pub fn push(&mut self, at: (i64, i64), key: &'a [u8], op: Op, before: &[Datum<'a>], after: &[Datum<'a>]) {
        let (offset, ordinal) = at;
        let before = self.keep(before);
        let after = self.keep(after);
        self.changes.push(Change { offset, ordinal, key, op, before, after });
    }

    fn keep(&mut self, row: &[Datum<'a>]) -> Option<Range<usize>> {
        let start = self.datums.len();
        self.datums.extend_from_slice(row);
        (!row.is_empty()).then_some(start..self.datums.len())
    }

    /// The changes in order.
    pub fn changes(&self) -> &[Change<'a>] {
        &self.changes
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there is no change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The row before the change at `index`; empty where there is none.
    pub fn before(&self, index: usize) -> &[Datum<'a>] {
        self.changes.get(index).and_then(|c| c.before.clone()).map_or(&[], |range| &self.datums[range])
    }

    /// The row after the change at `index`; empty where there is none.
    pub fn after(&self, index: usize) -> &[Datum<'a>] {
        self.changes.get(index).and_then(|c| c.after.clone()).map_or(&[], |range| &self.datums[range])
    }

    /// Index of the first change that lacks a row which its kind must have, or whose row is not `width` datums wide.
    pub fn first_malformed(&self, width: usize) -> Option<usize> {
        (0..self.len()).find(|&i| {
            let (before, after) = match self.changes[i].op {
                Op::Create => (0, width),
                Op::Update => (width, width),
                Op::Delete => (width, 0),
            };
            self.before(i).len() != before || self.after(i).len() != after
        })
    }

    /// Whether the change at `at` finds the row that the one at `last` left, or makes a new one.
    fn continues(&self, last: usize, at: usize) -> bool {
        let (left, found) = (self.after(last), self.before(at));
        found.is_empty() || (left.len() == found.len() && left.iter().zip(found).all(|(a, b)| same(a, b)))
    }

    /// The net effect per key.
    pub fn net(&self) -> Plan {
        let mut index: HashMap<&[u8], usize> = HashMap::with_capacity(self.changes.len());
        let mut keys: Vec<KeyState> = Vec::with_capacity(self.changes.len());
        let exact = self.datums.iter().any(|datum| matches!(datum, Datum::Exact(_)));
        for (at, change) in self.changes.iter().enumerate() {
            // The source's table has no primary key: nothing says which changes are of the same row.
            if change.key.is_empty() {
                return Plan::InOrder;
            }
            let slot = *index.entry(change.key).or_insert(keys.len());
            if slot == keys.len() {
                keys.push(KeyState::new(at, change.op));
            } else {
                let last = keys[slot].last;
                if !keys[slot].follow(at, change.op) || (exact && !self.continues(last, at)) {
                    return Plan::Serial;
                }
            }
        }
        let mut net = Net::default();
        for key in keys {
            match (key.was_present, key.present) {
                (false, false) => net.absent.push(key.first),
                (false, true) => net.inserts.push(key.last),
                (true, false) => net.deletes.push(key.first),
                (true, true) => {
                    net.updates.push(NetUpdate { first: key.first, last: key.last, replaced: key.replaced });
                }
            }
        }
        Plan::Net(net)
    }
}

/// How a batch can be applied.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Per key.
    Net(Net),
    /// One change after the other, since they have no keys; but those of a kind that follow each other together.
    InOrder,
    /// One change after the other: the changes of a key contradict each other.
    Serial,
}

/// Net effects; all numbers are indices of changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Net {
    /// Rows that were there and go: the row before this change.
    pub deletes: Vec<usize>,
    /// Rows that were there and stay.
    pub updates: Vec<NetUpdate>,
    /// Rows that were not there and stay: the row after this change.
    pub inserts: Vec<usize>,
    /// Rows that came and went within the batch: the row after this change must not have been there.
    pub absent: Vec<usize>,
}

/// A row that was there before the batch and is there after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetUpdate {
    /// Its row before this change is what the target holds.
    pub first: usize,
    /// Its row after this change is what the target shall hold.
    pub last: usize,
    /// It was deleted and inserted again in between, so columns that only the target has fall back to their defaults.
    pub replaced: bool,
}

/// A key's way through the batch.
struct KeyState {
    first: usize,
    last: usize,
    was_present: bool,
    present: bool,
    replaced: bool,
}

impl KeyState {
    fn new(at: usize, op: Op) -> Self {
        Self { first: at, last: at, was_present: op != Op::Create, present: op != Op::Delete, replaced: false }
    }

    /// Takes the next change of the key; false when it contradicts the state.
    fn follow(&mut self, at: usize, op: Op) -> bool {
        let fits = self.present == (op != Op::Create);
        self.replaced |= op == Op::Create;
        self.present = op != Op::Delete;
        self.last = at;
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ops: &[(Op, &'static [u8])]) -> Plan {
        let mut batch = Batch::new();
        for (i, &(op, key)) in ops.iter().enumerate() {
            let row = [Datum::Int(i as i64)];
            let before: &[Datum<'_>] = if op == Op::Create { &[] } else { &row };
            let after: &[Datum<'_>] = if op == Op::Delete { &[] } else { &row };
            batch.push((i as i64, i as i64), key, op, before, after);
        }
        assert_eq!(batch.first_malformed(1), None);
        assert_eq!(batch.first_malformed(2), (!ops.is_empty()).then_some(0));
        batch.net()
    }

    #[test]
    fn nets_per_key() {
        use Op::{Create as C, Delete as D, Update as U};
        let net =
            plan(&[(C, b"a"), (U, b"b"), (D, b"c"), (U, b"a"), (U, b"b"), (C, b"c"), (C, b"d"), (D, b"d"), (D, b"e")]);
        assert_eq!(
            net,
            Plan::Net(Net {
                deletes: vec![8],
                updates: vec![
                    NetUpdate { first: 1, last: 4, replaced: false },
                    NetUpdate { first: 2, last: 5, replaced: true }
                ],
                inserts: vec![3],
                absent: vec![6],
            })
        );
        assert_eq!(plan(&[(U, b"a"), (D, b"a")]), Plan::Net(Net { deletes: vec![0], ..Net::default() }));
        assert_eq!(plan(&[(D, b"a"), (C, b"a"), (D, b"a")]), Plan::Net(Net { deletes: vec![0], ..Net::default() }));
    }

    #[test]
    fn contradictions_are_serial() {
        use Op::{Create as C, Delete as D, Update as U};
        for ops in [[C, C], [U, C], [D, D], [D, U]] {
            assert_eq!(plan(&[(ops[0], b"a"), (ops[1], b"a")]), Plan::Serial);
        }
        assert_eq!(plan(&[]), Plan::Net(Net::default()));
    }

    #[test]
    fn keys_that_hide_an_exact_value_are_told_apart() {
        let (zero, epoch) = ([Datum::Exact("0000-00-00"), Datum::Int(1)], [Datum::Int(0), Datum::Int(1)]);
        let net = |steps: &[(Op, &[Datum<'static>], &[Datum<'static>])]| {
            let mut batch = Batch::new();
            for (at, (op, before, after)) in steps.iter().enumerate() {
                batch.push((at as i64, at as i64), b"0", *op, before, after);
            }
            batch.net()
        };
        // Of two rows, though the key records are the same.
        assert_eq!(net(&[(Op::Update, &zero, &zero), (Op::Delete, &epoch, &[])]), Plan::Serial);
        assert_eq!(net(&[(Op::Create, &[], &epoch), (Op::Delete, &zero, &[])]), Plan::Serial);
        // Of one.
        let absent = Net { absent: vec![0], ..Net::default() };
        assert_eq!(net(&[(Op::Create, &[], &zero), (Op::Delete, &zero, &[])]), Plan::Net(absent));
        // One goes, another comes: right either way, since each is found by its own row.
        let replaced = NetUpdate { first: 0, last: 1, replaced: true };
        let moved = Net { updates: vec![replaced], ..Net::default() };
        assert_eq!(net(&[(Op::Delete, &epoch, &[]), (Op::Create, &[], &zero)]), Plan::Net(moved));
    }

    #[test]
    fn changes_without_a_key_stay_in_order() {
        use Op::{Create as C, Delete as D, Update as U};
        // As changes of one key these would end in nothing, or in the end of another row.
        assert_eq!(plan(&[(C, b""), (D, b"")]), Plan::InOrder);
        assert_eq!(plan(&[(U, b""), (D, b"")]), Plan::InOrder);
        assert_eq!(plan(&[(U, b"")]), Plan::InOrder);
    }
}
