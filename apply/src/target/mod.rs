//! The target side of apply: one connection per lane, and the one transaction that holds a batch's rows and its progress.
//!
//! Invariants:
//! - Rows reach the target only in a transaction whose first statement moved the lane's progress row from the offset
//!   and owner token this lane believes in ([`writer`], [`progress`]). Whoever lost the lane cannot write.
//! - The fast path ([`batch`], [`writer`]) is used only where its result equals serial application; any count or
//!   duplicate that does not fit rolls everything back and the batch is applied serially (`serial`).
//! - A value that the target would change without an error is refused before it is sent (`value`).
//!
//! Failure: [`failure::Fault`] says what a failed statement means for the transaction; a lost connection always means
//! an unknown outcome, so the lane connects and claims again.

pub mod batch;
pub mod connection;
pub mod failure;
pub mod join;
pub mod mapping;
pub mod progress;
pub mod seek;
pub mod truncate;
pub mod writer;

pub(crate) mod columns;
mod constants;
pub(crate) mod joint;
mod replay;
mod runs;
mod serial;
pub(crate) mod siblings;
mod statements;
mod transaction;
mod value;
