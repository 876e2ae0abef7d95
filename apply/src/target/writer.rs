//! Writing a batch: its net effect and its progress in one transaction, or serially where that would not be equal.

use mysql_async::Value;
use schemas::Error;
use schemas::decode::Datum;
use schemas::documents::{ExistingRow, MissingRow, RowSettings};

use super::batch::{Batch, NetUpdate, Plan};
use super::connection::Session;
use super::failure::{Failure, Fault};
use super::mapping::{RowFault, TableMapping};
use super::progress::Lane;
use super::runs::Run;
use super::transaction::Transaction;
use super::value::packet_bytes;

pub use super::transaction::Destination;

/// Rows of a bulk statement.
const ROWS_PER_STATEMENT: usize = 1000;
/// Rows of a multi-row INSERT where the server has no bulk statements.
const MULTI_ROW: usize = 500;
/// Placeholders that a prepared statement may have.
const PLACEHOLDERS: usize = 65_535;
/// Keys of an IN list. From 1000 on MariaDB would turn the list into a join.
const KEYS_PER_STATEMENT: usize = 900;

/// A mapping's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policies {
    /// A row to update or delete is not there.
    pub missing_row: MissingRow,
    /// A row to insert is there already, by the table's key.
    pub existing_row: ExistingRow,
    /// Of events beyond this ordinal a row that exists is no matter for the policy yet: another lane of the topic may be
    /// about to take it away. `None`: no other lane can.
    pub settled: Option<i64>,
}

impl Policies {
    /// Whether a row that is in the way of this event stops the batch, whatever the policy.
    pub(crate) fn defers(&self, ordinal: i64) -> bool {
        self.settled.is_some_and(|settled| ordinal > settled)
    }
}

impl From<&RowSettings> for Policies {
    fn from(settings: &RowSettings) -> Self {
        Self { missing_row: settings.missing_row, existing_row: settings.existing_row, settled: None }
    }
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOutcome {
    /// Events applied, skipped ones included.
    pub events: u64,
    /// Rows inserted.
    pub inserted: u64,
    /// Rows updated.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Events whose row was missing, by policy overwritten or ignored.
    pub missing: u64,
    /// Events whose row existed, by policy overwritten or ignored.
    pub existing: u64,
    /// Rows that a replay wrote over a row of their key.
    pub rewritten: u64,
    /// Rows that a replay wrote where there was none.
    pub restored: u64,
    /// Rows that a replay removed: they went, or held a unique value of a row that came.
    pub removed: u64,
    /// Whether the batch was applied serially.
    pub serial: bool,
}

impl BatchOutcome {
    /// Adds what the same events did in another table.
    pub(crate) fn add(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.missing += other.missing;
        self.existing += other.existing;
        self.rewritten += other.rewritten;
        self.restored += other.restored;
        self.removed += other.removed;
    }
}

/// Why a batch is not, or not wholly, in the target.
#[derive(Debug)]
pub enum WriteError {
    /// The lane must pause: the event at this offset cannot be applied. Everything before it is committed, and the
    /// progress stands at it.
    Paused {
        /// Offset of the event.
        at_offset: i64,
        /// Its ordinal.
        ordinal: i64,
        /// Why, with the table, the key and the offset.
        error: Error,
        /// What the events before it did.
        outcome: BatchOutcome,
    },
    /// The connection is lost and the outcome unknown: drop the session, connect, claim.
    Lost(Error),
    /// Somebody else owns the lane; nothing was written.
    Taken(Error),
    /// The target rolled back or cannot write now; nothing was written. Try the same batch again later.
    Busy(Error),
    /// The statements are refused whatever the row (a privilege, a column that went away); nothing was written.
    Refused(Error),
}

/// Writes the batch and moves the lane to `to` (offset of the next record, ordinal of the last event), in one
/// transaction. An empty batch only moves the progress.
///
/// On [`WriteError::Paused`] the lane stands at the event that cannot be applied; on every other error it stands where
/// it stood, as far as this worker knows.
pub async fn write_batch(
    session: &mut Session,
    lane: &mut Lane,
    mapping: &TableMapping,
    policies: Policies,
    batch: &Batch<'_>,
    to: (i64, i64),
) -> Result<BatchOutcome, WriteError> {
    write_to_all(session, lane, &[Destination { mapping, policies }], batch, to).await
}

/// The same into several tables, still in one transaction; the outcome is their sum but for the events.
pub async fn write_to_all(
    session: &mut Session,
    lane: &mut Lane,
    destinations: &[Destination<'_>],
    batch: &Batch<'_>,
    to: (i64, i64),
) -> Result<BatchOutcome, WriteError> {
    if batch.is_empty() || destinations.is_empty() {
        advance(session, lane, to).await?;
        return Ok(BatchOutcome { events: batch.len() as u64, ..BatchOutcome::default() });
    }
    Transaction { session, lane, destinations, batch }.write(to).await
}

/// Writes the batch's net effect and the lane's move into a transaction and leaves it open, so that other lanes may add
/// theirs; `open`: it has begun already. The lane stands where it stood until somebody commits.
pub(crate) async fn write_part(
    session: &mut Session,
    lane: &mut Lane,
    (destinations, batch): (&[Destination<'_>], &Batch<'_>),
    to: (i64, i64),
    open: bool,
) -> Result<BatchOutcome, Unwritten> {
    Transaction { session, lane, destinations, batch }.write_part(to, open).await
}

/// Why a batch is not in a shared transaction.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// It needs a transaction of its own; nothing was sent.
    Alone,
    /// Its statements failed: the transaction is to be rolled back.
    Failed(String),
    /// The connection is lost.
    Lost(Error),
}

impl From<Detour> for Unwritten {
    fn from(detour: Detour) -> Self {
        match detour {
            Detour::Serial(why) => Self::Failed(why),
            Detour::Failed(Failure { fault: Fault::Lost, error }) => Self::Lost(error),
            Detour::Failed(failure) => Self::Failed(failure.error.to_string()),
        }
    }
}

/// Moves the lane without rows: over control records, repeats, or to the end of its partition.
pub async fn advance(session: &mut Session, lane: &mut Lane, to: (i64, i64)) -> Result<(), WriteError> {
    let sql = lane.advance_sql(lane.next_offset(), to);
    match session.run(sql).await {
        Ok(1) => {
            lane.committed(to);
            Ok(())
        }
        Ok(_) => Err(WriteError::Taken(lane.taken())),
        Err(failure) => Err(failure.into()),
    }
}

/// Moves the lane in front of an event or barrier of this ordinal, and notes that it stands there.
pub(crate) async fn stand(
    session: &mut Session,
    lane: &mut Lane,
    to: (i64, i64),
    pending: i64,
) -> Result<(), WriteError> {
    let sql = lane.stand_sql(lane.next_offset(), to, pending);
    match session.run(sql).await {
        Ok(1) => {
            lane.committed(to);
            Ok(())
        }
        Ok(_) => Err(WriteError::Taken(lane.taken())),
        Err(failure) => Err(failure.into()),
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> Self {
        match failure.fault {
            Fault::Lost => Self::Lost(failure.error),
            Fault::Busy => Self::Busy(failure.error),
            Fault::Duplicate | Fault::Refused => Self::Refused(failure.error),
        }
    }
}

/// A batch's rows on their way into one table, within a transaction that somebody else opened and will end.
pub(crate) struct Rows<'w, 'a> {
    pub(crate) session: &'w mut Session,
    pub(crate) mapping: &'w TableMapping,
    pub(crate) policies: Policies,
    pub(crate) batch: &'w Batch<'a>,
}

/// Why the fast path gives up.
pub(crate) enum Detour {
    /// The target is not as the batch expects, or refused something: apply serially to find out where.
    Serial(String),
    /// The transaction is over.
    Failed(Failure),
}

impl From<Failure> for Detour {
    fn from(failure: Failure) -> Self {
        match failure.fault {
            Fault::Duplicate | Fault::Refused => Self::Serial(failure.error.to_string()),
            Fault::Lost | Fault::Busy => Self::Failed(failure),
        }
    }
}

impl From<RowFault> for Detour {
    fn from(fault: RowFault) -> Self {
        Self::Serial(format!("the value of column `{}` {}", fault.column, fault.why.what))
    }
}

impl Rows<'_, '_> {
    /// The batch's net effect as statements; `None` when only serial application is right.
    pub(crate) fn plan(&self) -> Option<Work> {
        let net = match self.batch.net() {
            Plan::Net(net) => net,
            Plan::InOrder => return self.runs().map(|runs| Work { runs, ..Work::default() }),
            Plan::Serial => return None,
        };
        let (gone, new) = (net.deletes.len(), net.inserts.len());
        let updates = Vec::with_capacity(net.updates.len());
        let (deletes, inserts, absent) = (net.deletes, net.inserts, net.absent);
        let mut work = Work { deletes, gone, updates, inserts, new, absent, beside_others: false, runs: Vec::new() };
        for update in net.updates {
            let (from, to) = (self.batch.before(update.first), self.batch.after(update.last));
            let moves = self.mapping.moves_unique(from, to) || self.mapping.changes_documents_only(from, to);
            if !moves && !update.replaced {
                work.updates.push(update);
            } else if self.mapping.whole || update.replaced {
                work.deletes.push(update.first);
                work.inserts.push(update.last);
            } else {
                return None;
            }
        }
        Some(work)
    }

    /// Writes the net effect; whatever does not fit leaves the transaction to be rolled back.
    pub(crate) async fn write_net(&mut self, work: &Work) -> Result<BatchOutcome, Detour> {
        if !work.runs.is_empty() {
            return self.write_runs(&work.runs).await;
        }
        self.delete_rows(&work.deletes).await?;
        self.check_absent(&work.absent, work.beside_others).await?;
        self.update_rows(&work.updates).await?;
        self.insert_rows(&work.inserts).await?;
        let replaced = work.deletes.len() - work.gone;
        Ok(BatchOutcome {
            inserted: work.new as u64,
            updated: (work.updates.len() + replaced) as u64,
            deleted: work.gone as u64,
            ..BatchOutcome::default()
        })
    }

    async fn delete_rows(&mut self, rows: &[usize]) -> Result<(), Detour> {
        if self.mapping.by_row {
            let mapping = self.mapping;
            let values = |of: &Self, at: usize| mapping.find_values(of.batch.before(rows[at]));
            return self.each(&mapping.sql.delete, (rows.len(), "deleted"), values).await;
        }
        let mut rest = rows;
        while !rest.is_empty() {
            let (keys, taken) = self.key_list(rest, false)?;
            let count = self.session.run(self.mapping.sql.delete_in(&keys.collated, keys.bytes())).await?;
            expect(count, taken, "deleted")?;
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// Rows that came and went within the batch must not have been there.
    async fn check_absent(&mut self, rows: &[usize], beside_others: bool) -> Result<(), Detour> {
        // Without a row key there may be any number of it.
        let mut rest = if self.mapping.key.is_empty() { &[] } else { rows };
        while !rest.is_empty() {
            let (keys, taken) = self.key_list(rest, true)?;
            // With other lanes, one that is ahead may have a row that is equal by collation, and came later.
            let others = beside_others || self.policies.settled.is_some();
            let bytes = others.then(|| keys.bytes());
            if self.session.first::<mysql_async::Row>(self.mapping.sql.any_of(&keys.collated, bytes)).await?.is_some() {
                return Err(Detour::Serial("a row to insert is already in the target".to_owned()));
            }
            rest = &rest[taken..];
        }
        Ok(())
    }

    /// The keys of the rows at the head of `rows`, as many as one statement takes, as text for IN.
    pub(crate) fn key_list(&self, rows: &[usize], after: bool) -> Result<(Keys, usize), Detour> {
        // The list may stand in the statement twice.
        let budget = self.session.statement_budget() / 2;
        let mut keys = Keys::default();
        for (taken, &row) in rows.iter().enumerate() {
            let start = (keys.collated.len(), keys.other.len());
            let row = if after { self.batch.after(row) } else { self.batch.before(row) };
            self.key_literal(row, &mut keys.collated, true)?;
            if self.mapping.key_is_foreign {
                self.key_literal(row, &mut keys.other, false)?;
            }
            if keys.collated.len() > budget || taken == KEYS_PER_STATEMENT {
                if taken == 0 {
                    return Err(Detour::Serial("a key is larger than the target's max_allowed_packet".to_owned()));
                }
                keys.collated.truncate(start.0);
                keys.other.truncate(start.1);
                return Ok((keys, taken));
            }
        }
        Ok((keys, rows.len()))
    }

    /// Adds a row's key; `collated`: in the character sets of its columns.
    fn key_literal(&self, row: &[Datum<'_>], sql: &mut String, collated: bool) -> Result<(), RowFault> {
        let many = self.mapping.key.len() > 1;
        if !sql.is_empty() {
            sql.push(',');
        }
        for (at, column) in self.mapping.key.iter().filter_map(|&k| self.mapping.columns.get(k)).enumerate() {
            sql.push_str(match (many, at) {
                (true, 0) => "(",
                (true, _) => ",",
                _ => "",
            });
            let datum = column.datum(row)?;
            let fault = |why| column.fault(why);
            match column.bind.foreign().filter(|_| collated) {
                Some(charset) => {
                    sql.push_str("CONVERT(");
                    column.bind.key_literal(&datum, sql).map_err(fault)?;
                    sql.push_str(&format!(" USING {charset})"));
                }
                None => column.bind.key_literal(&datum, sql).map_err(fault)?,
            }
        }
        if many {
            sql.push(')');
        }
        Ok(())
    }

    async fn update_rows(&mut self, rows: &[NetUpdate]) -> Result<(), Detour> {
        let mapping = self.mapping;
        let values = |of: &Self, at: usize| {
            let NetUpdate { first, last, .. } = rows[at];
            let mut values = of.values(mapping.sql.update_columns.iter().copied(), of.batch.after(last))?;
            values.extend(mapping.find_values(of.batch.before(first))?);
            Ok(values)
        };
        self.each(&mapping.sql.update, (rows.len(), "found"), values).await
    }

    /// Runs a statement for so many rows, in order; for each it must find one row.
    pub(crate) async fn each(
        &mut self,
        sql: &str,
        (rows, what): (usize, &str),
        values: impl Fn(&Self, usize) -> Result<Vec<Value>, RowFault> + Send,
    ) -> Result<(), Detour> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for at in 0..rows {
            let values = values(self, at)?;
            let size = self.size(&values)?;
            if bytes + size > self.session.statement_budget() || chunk.len() == ROWS_PER_STATEMENT {
                self.chunk_of_each(sql, what, std::mem::take(&mut chunk)).await?;
                bytes = 0;
            }
            bytes += size;
            chunk.push(values);
        }
        self.chunk_of_each(sql, what, chunk).await
    }

    async fn chunk_of_each(&mut self, sql: &str, what: &str, rows: Vec<Vec<Value>>) -> Result<(), Detour> {
        let expected = rows.len();
        let mut count = 0;
        if expected == 0 {
            return Ok(());
        }
        if self.session.facts().bulk {
            count = self.session.execute_bulk(sql, rows).await?;
        } else {
            for row in rows {
                count += self.session.execute(sql, row).await?;
            }
        }
        expect(count, expected, what)
    }

    pub(crate) async fn insert_rows(&mut self, rows: &[usize]) -> Result<(), Detour> {
        let count = self.write_rows(rows, false).await?;
        expect(count, rows.len(), "inserted")
    }

    /// Inserts rows, or replaces what holds their unique values; the count of rows that came and, then, went.
    pub(crate) async fn write_rows(&mut self, rows: &[usize], replace: bool) -> Result<u64, Detour> {
        let width = self.mapping.columns.len();
        let limit = if self.session.facts().bulk { ROWS_PER_STATEMENT } else { MULTI_ROW.min(PLACEHOLDERS / width) };
        let mut chunk = Vec::new();
        let (mut bytes, mut count) = (0, 0);
        for &row in rows {
            let values = self.values(0..width, self.batch.after(row))?;
            let size = self.size(&values)?;
            if bytes + size > self.session.statement_budget() || chunk.len() == limit {
                count += self.write_chunk(std::mem::take(&mut chunk), limit, replace).await?;
                bytes = 0;
            }
            bytes += size;
            chunk.push(values);
        }
        Ok(count + self.write_chunk(chunk, limit, replace).await?)
    }

    async fn write_chunk(&mut self, mut rows: Vec<Vec<Value>>, full: usize, replace: bool) -> Result<u64, Detour> {
        let sql = &self.mapping.sql;
        let text = |rows| if replace { sql.replace(rows) } else { sql.insert(rows) };
        if self.session.facts().bulk && !rows.is_empty() {
            return Ok(self.session.execute_bulk(&text(1), rows).await?);
        }
        // Few sizes of statement, so that the prepared ones are used again.
        let mut count = 0;
        while !rows.is_empty() {
            let size = [full, 100, 10, 1].into_iter().find(|&size| size <= rows.len()).unwrap_or(1);
            let values: Vec<Value> = rows.drain(..size).flatten().collect();
            count += self.session.execute(&text(size), values).await?;
        }
        Ok(count)
    }

    fn size(&self, values: &[Value]) -> Result<usize, Detour> {
        let bytes: usize = values.iter().map(packet_bytes).sum();
        if bytes > self.session.row_limit() {
            return Err(Detour::Serial("a row is larger than the target's max_allowed_packet".to_owned()));
        }
        Ok(bytes)
    }

    /// A row's values for some of the mapped columns.
    pub(crate) fn values(
        &self,
        columns: impl IntoIterator<Item = usize>,
        row: &[Datum<'_>],
    ) -> Result<Vec<Value>, RowFault> {
        let mapped = columns.into_iter().filter_map(|at| self.mapping.columns.get(at));
        mapped.map(|column| self.mapping.value(column, row)).collect()
    }

    /// A row's values for comparisons with some of the key's columns.
    pub(crate) fn key_values(&self, columns: &[usize], row: &[Datum<'_>]) -> Result<Vec<Value>, RowFault> {
        let mapped = columns.iter().filter_map(|&at| self.mapping.columns.get(at));
        mapped.map(|column| column.bind.key_value(&column.datum(row)?).map_err(|why| column.fault(why))).collect()
    }
}

/// Keys as text for IN.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// For the comparison by collation.
    pub(crate) collated: String,
    /// For the comparison of bytes, where it is another text; else empty.
    other: String,
}

impl Keys {
    /// For the comparison of bytes.
    pub(crate) fn bytes(&self) -> &str {
        if self.other.is_empty() { &self.collated } else { &self.other }
    }
}

/// What to do for a batch; the numbers are indices of changes.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Rows to delete, by their row before.
    deletes: Vec<usize>,
    /// How many of them, from the front, are gone for good; the others are inserted again.
    gone: usize,
    updates: Vec<NetUpdate>,
    /// Rows to insert, by their row after.
    inserts: Vec<usize>,
    /// How many of them, from the front, are new.
    new: usize,
    absent: Vec<usize>,
    /// A row that only the collation takes for one of `absent` is another's, which came later.
    pub(crate) beside_others: bool,
    /// Where the changes have no keys: all of them in order, and nothing of the above.
    runs: Vec<Run>,
}

fn expect(count: u64, expected: usize, what: &str) -> Result<(), Detour> {
    if count == expected as u64 {
        return Ok(());
    }
    Err(Detour::Serial(format!("{count} rows {what} where {expected} were expected")))
}
