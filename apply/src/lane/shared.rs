//! A lane's part in a transaction of several lanes; why that is right stands in [`crate::pool::group`].
//!
//! Only the net effect of a batch goes into a shared transaction. A replay, a batch that must go serially, what is to be
//! done between batches: before them the transaction of the others is committed, and they have the connection to
//! themselves. A lane whose part failed writes its next batches alone, so that one which conflicts all the time does not
//! undo the others' work again and again.

use crate::config::TablePlan;
use crate::lane::batches::Written;
use crate::lane::{LaneTask, Turn};
use crate::pool::group::{Size, Told};
use crate::pool::{Onward, Pooled};
use crate::target::batch::Batch;
use crate::target::failure::Failure;
use crate::target::progress::Lane;
use crate::target::writer::{BatchOutcome, Destination, Unwritten, WriteError, write_part, write_to_all};

/// So many batches a lane writes alone after its part has failed.
pub(crate) const ALONE_AFTER_FAILURE: u32 = 16;

/// What a lane has written into a transaction that is still open.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where the lane stands once it is committed.
    pub(crate) to: (i64, i64),
    /// Records of the intake that it covers.
    pub(crate) records: usize,
    /// How large it is.
    pub(crate) size: Size,
    /// For the report; `None`: it only passes control records.
    pub(crate) written: Option<Written>,
}

/// How a batch was written.
#[derive(Debug)]
pub(crate) struct Ways {
    /// The result.
    pub(crate) way: Way,
    /// Whether it failed in a shared transaction first.
    pub(crate) failed: bool,
}

/// In which transaction a batch was written.
#[derive(Debug)]
pub(crate) enum Way {
    /// In one that is still open.
    Open(BatchOutcome),
    /// In its own, which has ended.
    Alone(Result<BatchOutcome, WriteError>),
}

/// What the parts of a transaction may be together: one batch.
pub(crate) fn limit(table: &TablePlan) -> Size {
    Size { rows: table.limits.rows, bytes: table.limits.bytes }
}

/// Commits what others have written into the connection's transaction, so that it can be used for something else.
pub(crate) async fn end_of_others(pooled: &mut Pooled) -> Result<(), Turn> {
    if pooled.is_open() {
        // Lost, it says nothing about this lane, which takes another connection.
        pooled.commit().await.map_err(|_| Turn::Again)?;
    }
    Ok(())
}

/// Writes a batch: into a transaction that stays open if it `shares` one and can, else in its own.
pub(crate) async fn write(
    pooled: &mut Pooled,
    lane: &mut Lane,
    (destinations, batch): (&[Destination<'_>], &Batch<'_>),
    to: (i64, i64),
    shares: bool,
) -> Result<Ways, Turn> {
    let mut failed = false;
    if shares {
        let open = pooled.is_open();
        match write_part(pooled.session(), lane, (destinations, batch), to, open).await {
            Ok(outcome) => return Ok(Ways { way: Way::Open(outcome), failed }),
            Err(Unwritten::Alone) => end_of_others(pooled).await?,
            Err(Unwritten::Failed(why)) => {
                tracing::debug!(lane = %lane.key(), why, "not in a shared transaction");
                failed = true;
                pooled.roll_back().await.map_err(|lost| Turn::Retry(lost.error))?;
            }
            Err(Unwritten::Lost(error)) => return Err(Turn::Retry(error)),
        }
    }
    let written = write_to_all(pooled.session(), lane, destinations, batch, to).await;
    Ok(Ways { way: Way::Alone(written), failed })
}

impl LaneTask {
    /// Gives the connection on to a lane that waits, or commits; then the lane is where its part says.
    pub(crate) async fn end_part(&mut self, part: Part, limit: Size, pooled: Pooled) -> Result<(), Turn> {
        let ending = async {
            match pooled.give_on(part.size, limit) {
                Onward::Gone(told) => Ok(told.await.ok()),
                Onward::Back(mut pooled) => {
                    pooled.commit().await?;
                    self.report.committed();
                    pooled.give_back();
                    Ok(Some(Told::Committed))
                }
            }
        };
        let told: Result<Option<Told>, Failure> = tokio::select! {
            biased;
            // Its next owner waits for the end of the transaction, whoever ends it.
            () = self.handle.abandon.cancelled() => return Err(Turn::Stop),
            told = ending => told,
        };
        match told {
            Ok(Some(Told::Committed)) => {
                if let Some(lane) = self.state.held.as_mut() {
                    lane.committed(part.to);
                }
                self.state.intake.consume(part.records);
                match part.written {
                    Some(written) => {
                        self.moved(part.to.0, part.to.1);
                        self.report.wrote(&written);
                    }
                    None => self.passed(part.to),
                }
                Ok(())
            }
            Ok(Some(Told::RolledBack)) => {
                self.state.alone = self.state.alone.max(1);
                Ok(())
            }
            // The outcome is not known: the row says it.
            Ok(None) => Err(Turn::Again),
            Err(failure) => Err(Turn::Retry(failure.error)),
        }
    }
}
