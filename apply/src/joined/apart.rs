//! Lanes that were apart when they were joined, until all have come to where the furthest was. Pure.
//!
//! A batch of any length may be committed that the target takes: the lanes then stand at a vector of positions that has a
//! state. One that meets a row of a lane that is ahead is tried again twice as large, and so on: at the furthest lane
//! at the latest there is a state that the source had. Behind what is written batches are of the usual size again, so lanes
//! that are far apart come together piece by piece, wherever they can. Memory bounds the largest batch; when that one
//! conflicts, it may end at the wrong place, and some that are a little smaller are tried. Then the lanes stop, with a code of
//! its own.

use schemas::{Code, Error};

use crate::joined::merge::Position;
use crate::lane::intake::Limits;

/// The largest batch is at least so many times the usual size.
const LEAST: usize = 2;

/// How far lanes are apart, and how large a batch is to bring them together.
#[derive(Debug)]
pub(crate) struct Apart {
    limits: Limits,
    /// Where the furthest lane was, until all have come there.
    furthest: Option<Position>,
    factor: usize,
    /// Whether the largest batch has been tried.
    shrinks: bool,
}

impl Apart {
    /// Lanes of which the furthest is here.
    pub(crate) fn new(limits: Limits, furthest: Option<Position>) -> Self {
        Self { limits, furthest, factor: 1, shrinks: false }
    }

    /// Whether some lane is ahead of another.
    pub(crate) fn is_apart(&self) -> bool {
        self.furthest.is_some()
    }

    /// Where the furthest lane was.
    pub(crate) fn furthest(&self) -> Option<Position> {
        self.furthest
    }

    /// Where the next batch ends.
    pub(crate) fn limits(&self) -> Limits {
        let limits = self.limits.times(self.factor);
        // The largest are bounded by memory alone.
        if self.factor <= self.most() / 2 {
            return limits;
        }
        Limits { rows: usize::MAX, hard_rows: usize::MAX, ..limits }
    }

    /// So many times the usual size it is.
    pub(crate) fn factor(&self) -> usize {
        self.factor
    }

    /// The next batch must be as large as its limits, or reach this far.
    pub(crate) fn goal(&self) -> Option<Position> {
        self.furthest.filter(|_| self.factor > 1)
    }

    /// Whether a conflict in a batch that ends here says only that more is needed. `full`: its limits have ended it.
    pub(crate) fn is_early(&self, last: Option<Position>, full: bool) -> bool {
        self.furthest > last && (full || self.factor == 1)
    }

    /// Makes the next batch another size; false when all have been tried.
    pub(crate) fn resize(&mut self) -> bool {
        let most = self.most();
        self.shrinks |= self.factor == most;
        self.factor = if self.shrinks { self.factor - 1 } else { (self.factor * 2).min(most) };
        self.factor > most / 2 || !self.shrinks
    }

    /// The largest factor.
    fn most(&self) -> usize {
        (self.limits.join_bytes / self.limits.hard_bytes.max(1)).max(LEAST)
    }

    /// A batch up to here is committed.
    pub(crate) fn wrote(&mut self, last: Option<Position>) {
        (self.factor, self.shrinks) = (1, false);
        if self.furthest <= last {
            self.furthest = None;
        }
    }

    /// The error of lanes that no batch brings together.
    pub(crate) fn too_far(&self, topic: &str, why: &str) -> Error {
        let message = format!(
            "{topic}: a row of a lane that is ahead is in the way ({why}), and a batch of {} bytes does not reach the event that \
             takes it away; raise `join_batch` under [apply] in otter.toml and start the worker again",
            self.limits.times(self.most()).hard_bytes
        );
        Error::new(Code::LanesApart, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ordinal: i64) -> Position {
        Position { generation: 0, ordinal }
    }

    fn apart(join_bytes: usize) -> Apart {
        let limits = Limits { rows: 2, bytes: 50, hard_rows: 10, hard_bytes: 100, elastic: false, join_bytes };
        Apart::new(limits, Some(at(900)))
    }

    #[test]
    fn batches_grow_to_the_bound_and_begin_anew_behind_what_is_written() {
        let mut apart = apart(800);
        assert_eq!(apart.goal(), None, "the first try takes what is there");
        assert!(apart.is_early(Some(at(10)), false) && apart.resize());
        assert_eq!((apart.factor(), apart.limits().rows, apart.limits().hard_bytes), (2, 4, 200));
        assert_eq!(apart.goal(), Some(at(900)));
        assert!(!apart.is_early(Some(at(800)), false), "all that there is up to the furthest lane");
        assert!(apart.is_early(Some(at(800)), true) && apart.resize() && apart.resize());
        assert_eq!((apart.factor(), apart.limits().rows, apart.limits().hard_bytes), (8, usize::MAX, 800));
        let sizes: Vec<usize> = std::iter::from_fn(|| apart.resize().then_some(apart.factor())).collect();
        assert_eq!(sizes, [7, 6, 5]);
        let error = apart.too_far("t", "why");
        assert!(error.code() == Code::LanesApart && error.message().contains("800 bytes"), "{error}");
        apart.wrote(Some(at(800)));
        assert_eq!((apart.factor(), apart.is_apart(), apart.goal()), (1, true, None));
        assert!(apart.resize());
        apart.wrote(Some(at(900)));
        assert!(!apart.is_apart() && !apart.is_early(Some(at(901)), true));
    }

    #[test]
    fn a_batch_may_always_grow_once() {
        let mut apart = apart(1);
        assert!(apart.resize());
        assert_eq!(apart.limits().hard_bytes, 200);
        assert!(!apart.resize());
    }
}
