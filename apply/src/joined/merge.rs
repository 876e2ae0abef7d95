//! The records of several lanes in one order: by generation and ordinal. Pure.
//!
//! Each lane comes in its own order; what is not beyond the lane's last is a repeat and dropped. An element may go out
//! once no lane can bring a smaller one any more. Of a lane that is known for two reasons:
//! - everything up to its last element has come, since its positions only grow;
//! - everything up to `upto` has come, if the greatest element of all lanes was `upto` at some moment, the ends of all
//!   partitions (open transactions included) were taken after that moment, and the lane has been read up to its end.
//!   Capture sends in order and by one producer: when an element can be read its transaction is committed, so everything
//!   before it is written, and lies below those ends.
//!
//! A lane of which nothing is known holds up all: nothing is emitted on a guess.

use std::collections::{BTreeSet, VecDeque};

use schemas::barrier::Barrier;

/// Where an event stands in its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// Generation of the source's capture.
    pub(crate) generation: i32,
    /// The event's ordinal.
    pub(crate) ordinal: i64,
}

impl From<&Barrier> for Position {
    fn from(barrier: &Barrier) -> Self {
        Self { generation: barrier.generation, ordinal: barrier.ordinal }
    }
}

/// A lane's elements that have not gone out.
#[derive(Debug)]
struct Stream<T> {
    waiting: VecDeque<(Position, T)>,
    /// The greatest position that has come.
    last: Position,
    /// Everything up to here has come, whatever `last` is.
    known: Position,
}

/// Ends of all lanes, taken when the greatest element was `upto`.
#[derive(Debug)]
struct Round {
    upto: Position,
    /// `None`: the lane has been read up to its end.
    ends: Vec<Option<i64>>,
}

/// The lanes on their way into one order.
#[derive(Debug)]
pub(crate) struct Merge<T> {
    lanes: Vec<Stream<T>>,
    /// The first waiting element of each lane that has one.
    heads: BTreeSet<(Position, usize)>,
    round: Option<Round>,
    /// Beyond it there may be lanes that are not known at all; `None`: there are no others.
    listed: Option<Position>,
}

impl<T> Merge<T> {
    /// Lanes that have come so far.
    pub(crate) fn new(at: impl IntoIterator<Item = Position>) -> Self {
        let lanes = at.into_iter().map(|at| Stream { waiting: VecDeque::new(), last: at, known: at }).collect();
        Self { lanes, heads: BTreeSet::new(), round: None, listed: None }
    }

    /// There may be other lanes with elements beyond this position.
    pub(crate) fn set_listed(&mut self, upto: Position) {
        self.listed = Some(upto);
    }

    /// Takes an element in; false when it is a repeat.
    pub(crate) fn push(&mut self, lane: usize, at: Position, element: T) -> bool {
        let Some(stream) = self.lanes.get_mut(lane).filter(|stream| at > stream.last) else { return false };
        stream.last = at;
        self.enter(lane, at, element);
        true
    }

    /// Takes in what has no position of its own: it goes out right behind the lane's last element.
    pub(crate) fn push_behind(&mut self, lane: usize, element: T) {
        if let Some(last) = self.lanes.get(lane).map(|stream| stream.last) {
            self.enter(lane, last, element);
        }
    }

    fn enter(&mut self, lane: usize, at: Position, element: T) {
        let Some(stream) = self.lanes.get_mut(lane) else { return };
        if stream.waiting.is_empty() {
            self.heads.insert((at, lane));
        }
        stream.waiting.push_back((at, element));
    }

    /// The greatest position that has come by any lane.
    pub(crate) fn greatest(&self) -> Option<Position> {
        self.lanes.iter().map(|stream| stream.last).max()
    }

    /// Whether a round is to begin: none is on its way, and there are positions that the last one did not reach.
    pub(crate) fn wants_round(&self) -> bool {
        self.round.is_none() && self.greatest() > self.safe()
    }

    /// Begins a round: the ends were taken when `upto` had come already.
    pub(crate) fn begin_round(&mut self, upto: Position, ends: impl IntoIterator<Item = i64>) {
        self.round = Some(Round { upto, ends: ends.into_iter().map(Some).collect() });
    }

    /// The lane has been read up to this offset, and everything from before it was pushed.
    pub(crate) fn has_read(&mut self, lane: usize, offset: i64) {
        let Some(round) = &mut self.round else { return };
        if let Some(end) = round.ends.get_mut(lane).filter(|end| end.is_some_and(|end| offset >= end)) {
            *end = None;
            if let Some(stream) = self.lanes.get_mut(lane) {
                stream.known = stream.known.max(round.upto);
            }
        }
        if round.ends.iter().all(Option::is_none) {
            self.round = None;
        }
    }

    /// Whether a round is on its way.
    pub(crate) fn in_round(&self) -> bool {
        self.round.is_some()
    }

    /// Up to here everything has come.
    pub(crate) fn safe(&self) -> Option<Position> {
        let lanes = self.lanes.iter().map(|stream| stream.last.max(stream.known));
        lanes.chain(self.listed).min()
    }

    /// The next element, if no smaller one can come.
    pub(crate) fn next(&mut self) -> Option<(usize, Position, T)> {
        let &(at, lane) = self.heads.first()?;
        if Some(at) > self.safe() {
            return None;
        }
        self.heads.pop_first();
        let stream = self.lanes.get_mut(lane)?;
        let (at, element) = stream.waiting.pop_front()?;
        if let Some((next, _)) = stream.waiting.front() {
            self.heads.insert((*next, lane));
        }
        Some((lane, at, element))
    }

    /// The lane's first waiting element.
    pub(crate) fn head(&self, lane: usize) -> Option<&T> {
        self.lanes.get(lane).and_then(|stream| stream.waiting.front()).map(|(_, element)| element)
    }

    /// Where the first waiting element of all stands.
    pub(crate) fn next_at(&self) -> Option<Position> {
        self.heads.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(generation: i32, ordinal: i64) -> Position {
        Position { generation, ordinal }
    }

    #[test]
    fn a_silent_lane_holds_up_the_others_until_it_was_read_to_its_end() {
        let mut merge = Merge::new([at(0, -1), at(0, -1)]);
        assert!(merge.push(0, at(0, 1), "a"));
        assert!(merge.push(0, at(0, 5), "c"));
        assert!(!merge.push(0, at(0, 5), "repeat"));
        assert_eq!(merge.next(), None);
        let upto = merge.greatest().expect("lanes");
        merge.begin_round(upto, [4, 9]);
        merge.has_read(1, 8);
        assert_eq!(merge.next(), None);
        assert!(merge.push(1, at(0, 3), "b"));
        assert_eq!(merge.next().map(|(_, _, e)| e), Some("a"));
        assert_eq!(merge.next().map(|(_, _, e)| e), Some("b"));
        assert_eq!(merge.next(), None, "another one before c may come");
        merge.has_read(1, 9);
        assert_eq!(merge.next().map(|(_, _, e)| e), Some("c"));
        assert!(merge.round.is_some(), "lane 0 has not been read to its end");
        merge.has_read(0, 4);
        assert!(merge.round.is_none() && !merge.wants_round() && merge.next_at().is_none());
    }

    #[test]
    fn what_lanes_there_are_is_known_up_to_a_place_only() {
        let mut merge = Merge::new([at(0, 0)]);
        merge.set_listed(at(0, 0));
        assert!(merge.push(0, at(0, 1), "a"));
        assert_eq!(merge.next(), None, "a lane that is new may have a smaller one");
        assert!(merge.wants_round());
        merge.set_listed(at(0, 1));
        assert_eq!(merge.next().map(|(_, _, e)| e), Some("a"));
        assert!(!merge.wants_round());
    }

    #[test]
    fn a_higher_generation_comes_behind_whatever_its_ordinal() {
        let mut merge = Merge::new([at(0, -1), at(0, 7)]);
        assert!(merge.push(0, at(1, 2), "new"));
        assert!(merge.push(1, at(0, 8), "old"));
        assert!(merge.push(1, at(1, 3), "newer"));
        assert_eq!(
            [merge.next(), merge.next(), merge.next()].map(|e| e.map(|(_, _, e)| e)),
            [Some("old"), Some("new"), None]
        );
    }

    /// What capture does: a transaction's events, each in a partition; published again or not; how long it stays open.
    #[derive(Debug, Clone)]
    struct Sent {
        partitions: Vec<usize>,
        again: bool,
    }

    /// What the reader does next.
    #[derive(Debug, Clone)]
    enum Step {
        /// Reads so many records of a partition.
        Read(usize, usize),
        Round,
        /// Capture commits the next transaction; before that its records are written, but cannot be read.
        Write,
        Commit,
    }

    #[derive(Default)]
    struct Log {
        /// Ordinals; `None` is a control record.
        records: Vec<Option<i64>>,
        stable: usize,
    }

    fn steps(lanes: usize) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..lanes, 1..4usize).prop_map(|(lane, count)| Step::Read(lane, count)),
            1 => Just(Step::Round),
            2 => Just(Step::Write),
            2 => Just(Step::Commit),
        ];
        prop::collection::vec(step, 0..200)
    }

    fn history() -> impl Strategy<Value = (usize, Vec<Sent>, Vec<Step>)> {
        (1..6usize).prop_flat_map(|lanes| {
            let sent = (prop::collection::vec(0..lanes, 1..5), prop::bool::weighted(0.2))
                .prop_map(|(partitions, again)| Sent { partitions, again });
            (Just(lanes), prop::collection::vec(sent, 0..25), steps(lanes))
        })
    }

    struct World {
        logs: Vec<Log>,
        read: Vec<usize>,
        merge: Merge<i64>,
        out: Vec<i64>,
        transactions: VecDeque<Vec<(usize, i64)>>,
        open: Option<Vec<(usize, i64)>>,
    }

    impl World {
        fn step(&mut self, step: &Step) {
            match step {
                Step::Write if self.open.is_none() => {
                    self.open = self.transactions.pop_front();
                    for (lane, ordinal) in self.open.iter().flatten() {
                        self.logs[*lane].records.push(Some(*ordinal));
                    }
                }
                Step::Commit => {
                    for (lane, _) in self.open.take().into_iter().flatten() {
                        let log = &mut self.logs[lane];
                        if log.records.last().is_some_and(Option::is_some) {
                            log.records.push(None);
                        }
                        log.stable = log.records.len();
                    }
                }
                Step::Read(lane, count) => {
                    for _ in 0..*count {
                        let at = self.read[*lane];
                        if at == self.logs[*lane].stable {
                            break;
                        }
                        self.read[*lane] += 1;
                        if let Some(ordinal) = self.logs[*lane].records[at] {
                            self.merge.push(*lane, super::tests::at(0, ordinal), ordinal);
                        }
                    }
                    self.merge.has_read(*lane, self.read[*lane] as i64);
                }
                Step::Round if self.merge.wants_round() => {
                    let upto = self.merge.greatest().expect("lanes");
                    let ends: Vec<i64> = self.logs.iter().map(|log| log.records.len() as i64).collect();
                    self.merge.begin_round(upto, ends);
                    for lane in 0..self.logs.len() {
                        self.merge.has_read(lane, self.read[lane] as i64);
                    }
                }
                Step::Write | Step::Round => {}
            }
            while let Some((_, _, ordinal)) = self.merge.next() {
                self.out.push(ordinal);
            }
        }
    }

    proptest! {
        #[test]
        fn everything_comes_once_and_in_order((lanes, sent, steps) in history()) {
            let mut ordinal = 0;
            let mut transactions = VecDeque::new();
            let mut before: Option<Vec<(usize, i64)>> = None;
            for sent in &sent {
                let events: Vec<(usize, i64)> = sent.partitions.iter().map(|lane| { ordinal += 10; (*lane, ordinal) }).collect();
                // A stretch that is published twice: the transaction before and this one.
                if sent.again {
                    transactions.push_back(events.clone());
                    transactions.extend(before.clone());
                }
                transactions.push_back(events.clone());
                before = Some(events);
            }
            let mut world = World {
                logs: (0..lanes).map(|_| Log::default()).collect(),
                read: vec![0; lanes],
                merge: Merge::new((0..lanes).map(|_| at(0, 0))),
                out: Vec::new(),
                transactions,
                open: None,
            };
            for step in &steps {
                world.step(step);
                let wanted: Vec<i64> = (1..=world.out.len() as i64).map(|n| n * 10).collect();
                prop_assert_eq!(&world.out, &wanted);
            }
            // In the end everything is read: then everything has gone out.
            while !world.transactions.is_empty() || world.open.is_some() {
                world.step(&Step::Write);
                world.step(&Step::Commit);
            }
            for _ in 0..2 {
                (0..lanes).for_each(|lane| world.step(&Step::Read(lane, usize::MAX)));
                world.step(&Step::Round);
            }
            prop_assert_eq!(world.out.len() as i64 * 10, ordinal);
            prop_assert_eq!(world.merge.next_at(), None);
        }
    }
}
