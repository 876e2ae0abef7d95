//! Which lanes the consumer thread has, and where each of them stands. Pure: librdkafka is told by `rounds`.
//!
//! A lane is an incarnation of a partition's ownership: it begins with an ASSIGN and ends with the REVOKE, and its id is
//! never used again, so whatever is still on its way for an ended lane finds nothing. Three states of fetching:
//!
//! ```text
//! halted ──position──▶ fetching ──queue full──▶ waiting
//!    ▲                 │  ▲  └────position────┐    │
//!    └──────halt───────┘  └───────◀───────────┴resume
//! ```
//! Only fetching and waiting lanes are in librdkafka's own assignment. That matters at a revocation: unassigning one that
//! is not there fails as a whole and would hold up the group.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chunk::{Chunk, LaneQueue, Limits, Waiting};

/// A chunk is handed over at this weight even when more can be polled.
const CHUNK_BYTES: usize = 256 * 1024;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Part {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
}

/// An incarnation of a lane; unique within a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LaneId(pub(crate) u64);

/// The consumer's hold on a lane's task.
#[derive(Debug, Clone)]
pub(crate) struct LaneHandle {
    /// Where its records go.
    pub(crate) queue: Arc<LaneQueue>,
    /// Asks it to finish the batch in flight and end.
    pub(crate) stop: CancellationToken,
    /// Asks it not even to finish that batch: others own the partition already.
    pub(crate) abandon: CancellationToken,
    /// Asks it to compare its position with the topic again.
    pub(crate) recheck: Arc<Notify>,
    /// The offset it has committed at the target; negative before the first claim.
    pub(crate) committed: Arc<AtomicI64>,
}

#[derive(Debug)]
struct Slot {
    id: LaneId,
    part: Part,
    handle: LaneHandle,
    fetch: Option<Stream>,
    /// What the group has been told.
    told: i64,
}

#[derive(Debug)]
struct Stream {
    number: u64,
    /// Records below are not wanted.
    next: i64,
    chunk: Chunk,
    /// Whether the consumer's position belongs to this stream for sure. After a repositioning librdkafka may still
    /// report the old one until a record of the new stream came.
    settled: bool,
}

/// Where a lane's fetching begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The partition.
    pub(crate) part: Part,
    /// Whether it is in librdkafka's assignment and must leave it first.
    pub(crate) assigned: bool,
}

/// The partitions that a round adds to librdkafka's assignment, all at once after its requests. Until then a later request
/// of the same round may take one back, and must not unassign it: librdkafka refuses to take out what is not in.
#[derive(Debug, Default)]
pub(crate) struct Additions(Vec<(Part, i64)>);

impl Additions {
    /// Adds a partition from an offset on.
    pub(crate) fn add(&mut self, part: Part, offset: i64) {
        self.0.push((part, offset));
    }

    /// Takes a partition back; false when it is not among them.
    pub(crate) fn take_back(&mut self, part: &Part) -> bool {
        let before = self.0.len();
        self.0.retain(|(p, _)| p != part);
        self.0.len() < before
    }

    /// The partitions and where each begins.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Part, i64)> {
        self.0.iter().map(|(part, offset)| (part, *offset))
    }
}

/// What a revocation ends.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    /// The lanes to stop.
    pub(crate) lanes: Vec<(LaneId, LaneHandle)>,
    /// The partitions to take out of librdkafka's assignment.
    pub(crate) unassign: Vec<Part>,
    told: Vec<(Part, i64)>,
}

impl Revoked {
    /// The offsets that the lanes have committed and the group does not know yet.
    pub(crate) fn last_offsets(&self) -> Vec<(Part, i64)> {
        let last = self.lanes.iter().map(|(_, handle)| handle.committed.load(Ordering::Relaxed));
        let pairs = self.told.iter().zip(last);
        pairs.filter(|((_, told), last)| last > told).map(|((part, _), last)| (part.clone(), last)).collect()
    }
}

/// The lanes of one consumer.
#[derive(Debug)]
pub(crate) struct Lanes {
    limits: Limits,
    slots: Vec<Slot>,
    by_topic: HashMap<String, Vec<(i32, usize)>>,
    by_id: HashMap<LaneId, usize>,
    last: usize,
    next_id: u64,
    total: Arc<Waiting>,
}

impl Lanes {
    /// None yet. `total` counts the bytes waiting in the process.
    pub(crate) fn new(limits: Limits, total: Arc<Waiting>) -> Self {
        Self { limits, slots: Vec::new(), by_topic: HashMap::new(), by_id: HashMap::new(), last: 0, next_id: 1, total }
    }

    /// Takes partitions in; `spawn` starts the task of each. One that is here already stays as it is.
    pub(crate) fn assign(&mut self, parts: Vec<Part>, mut spawn: impl FnMut(LaneId, &Part) -> LaneHandle) {
        for part in parts {
            if self.index(&part.topic, part.partition).is_some() {
                continue;
            }
            let id = LaneId(self.next_id);
            self.next_id += 1;
            let handle = spawn(id, &part);
            let at = self.slots.len();
            self.by_topic.entry(part.topic.clone()).or_default().push((part.partition, at));
            self.by_id.insert(id, at);
            self.slots.push(Slot { id, part, handle, fetch: None, told: -1 });
        }
    }

    /// Lets partitions go.
    pub(crate) fn revoke(&mut self, parts: &[Part]) -> Revoked {
        let mut revoked = Revoked::default();
        let slots = std::mem::take(&mut self.slots);
        let gone: HashSet<&Part> = parts.iter().collect();
        for slot in slots {
            if gone.contains(&slot.part) {
                if slot.fetch.is_some() {
                    revoked.unassign.push(slot.part.clone());
                }
                revoked.told.push((slot.part, slot.told));
                revoked.lanes.push((slot.id, slot.handle));
            } else {
                self.slots.push(slot);
            }
        }
        self.reindex();
        revoked
    }

    fn reindex(&mut self) {
        self.by_id.clear();
        self.by_topic.clear();
        self.last = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            self.by_id.insert(slot.id, at);
            self.by_topic.entry(slot.part.topic.clone()).or_default().push((slot.part.partition, at));
        }
    }

    /// Begins a stream; `None` when the lane is not here any more.
    pub(crate) fn position(&mut self, lane: LaneId, stream: u64, offset: i64) -> Option<Placement> {
        let slot = self.slot(lane)?;
        let assigned = slot.fetch.is_some();
        slot.fetch = Some(Stream { number: stream, next: offset, chunk: Chunk::default(), settled: !assigned });
        Some(Placement { part: slot.part.clone(), assigned })
    }

    /// Ends a lane's fetching; the partition to take out of the assignment, if it is in.
    pub(crate) fn halt(&mut self, lane: LaneId) -> Option<Part> {
        let slot = self.slot(lane)?;
        slot.fetch.take().map(|_| slot.part.clone())
    }

    /// Whether the lane may be delivered to: it fetches, and its queue is not full, or has room again.
    pub(crate) fn has_room(&mut self, lane: LaneId) -> bool {
        let (limits, total, count) = (self.limits, self.total.bytes(), self.total.lanes());
        let Some(slot) = self.slot(lane).filter(|slot| slot.fetch.is_some()) else { return false };
        let queue = &slot.handle.queue;
        !queue.is_paused() || queue.resume_if(|waiting| limits.may_resume(waiting, total, count))
    }

    /// The partition of a lane that is here.
    pub(crate) fn part(&self, lane: LaneId) -> Option<&Part> {
        self.by_id.get(&lane).and_then(|at| self.slots.get(*at)).map(|slot| &slot.part)
    }

    /// Takes a record in; answers whether its lane is full now. Records that nobody wants are dropped.
    pub(crate) fn take(&mut self, topic: &str, partition: i32, offset: i64, key: &[u8], value: &[u8]) -> bool {
        let Some(at) = self.index(topic, partition) else { return false };
        self.last = at;
        let (limits, total, count) = (self.limits, self.total.bytes(), self.total.lanes());
        let Some(slot) = self.slots.get_mut(at) else { return false };
        let Some(stream) = slot.fetch.as_mut().filter(|s| offset >= s.next) else { return false };
        stream.next = offset + 1;
        stream.settled = true;
        stream.chunk.push(offset, key, value);
        if stream.chunk.weight() < CHUNK_BYTES {
            return false;
        }
        hand_over(slot, false, |waiting| limits.must_pause(waiting, total, count))
    }

    /// Hands over what a lane has been given so far, because there is nothing more to poll (`quiet`) or its turn is over.
    pub(crate) fn flush(&mut self, lane: LaneId, quiet: bool) {
        let (limits, total, count) = (self.limits, self.total.bytes(), self.total.lanes());
        if let Some(slot) = self.slot(lane) {
            hand_over(slot, quiet, |waiting| limits.must_pause(waiting, total, count));
        }
    }

    /// Tells a lane that the consumer stands at `position`: it may have passed control records, which carry no row.
    pub(crate) fn mark(&mut self, topic: &str, partition: i32, position: i64) {
        let Some(slot) = self.index(topic, partition).and_then(|at| self.slots.get_mut(at)) else { return };
        let Some(stream) = slot.fetch.as_mut().filter(|s| s.settled && s.chunk.is_empty()) else { return };
        if position > stream.next {
            stream.next = position;
            slot.handle.queue.mark(stream.number, position);
        }
    }

    /// The offsets that the group does not know yet; counted as told from here on.
    pub(crate) fn untold(&mut self) -> Vec<(Part, i64)> {
        let mut out = Vec::new();
        for slot in &mut self.slots {
            let committed = slot.handle.committed.load(Ordering::Relaxed);
            if committed > slot.told {
                slot.told = committed;
                out.push((slot.part.clone(), committed));
            }
        }
        out
    }

    /// Asks all fetching lanes to compare their position with the topic.
    pub(crate) fn recheck(&self) {
        for slot in self.slots.iter().filter(|s| s.fetch.is_some()) {
            slot.handle.recheck.notify_one();
        }
    }

    /// The partitions of all lanes.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.slots.iter().map(|s| s.part.clone()).collect()
    }

    fn slot(&mut self, lane: LaneId) -> Option<&mut Slot> {
        let at = *self.by_id.get(&lane)?;
        self.slots.get_mut(at)
    }

    /// Records mostly come in runs of one partition, so the last one is tried first.
    fn index(&self, topic: &str, partition: i32) -> Option<usize> {
        let is = |slot: &Slot| slot.part.partition == partition && slot.part.topic == topic;
        if self.slots.get(self.last).is_some_and(is) {
            return Some(self.last);
        }
        self.by_topic.get(topic)?.iter().find(|(p, _)| *p == partition).map(|(_, at)| *at)
    }
}

/// Moves a slot's chunk to its lane; answers whether the lane is full now.
fn hand_over(slot: &mut Slot, quiet: bool, must_pause: impl Fn(usize) -> bool) -> bool {
    let Some(stream) = slot.fetch.as_mut().filter(|s| !s.chunk.is_empty()) else { return false };
    let mut chunk = std::mem::take(&mut stream.chunk);
    chunk.quiet = quiet;
    slot.handle.queue.push(stream.number, chunk);
    slot.handle.queue.pause_if(must_pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Taken;

    fn part(topic: &str) -> Part {
        Part { topic: topic.into(), partition: 0 }
    }

    fn lanes(limits: Limits) -> Lanes {
        Lanes::new(limits, Arc::new(Waiting::default()))
    }

    fn handle(total: &Arc<Waiting>) -> LaneHandle {
        LaneHandle {
            queue: Arc::new(LaneQueue::new(Arc::clone(total))),
            stop: CancellationToken::new(),
            abandon: CancellationToken::new(),
            recheck: Arc::default(),
            committed: Arc::new(AtomicI64::new(-1)),
        }
    }

    fn assign(lanes: &mut Lanes, topics: &[&str]) -> Vec<(LaneId, LaneHandle)> {
        let total = Arc::clone(&lanes.total);
        let mut out = Vec::new();
        lanes.assign(topics.iter().map(|t| part(t)).collect(), |id, _| {
            let handle = handle(&total);
            out.push((id, handle.clone()));
            handle
        });
        out
    }

    #[test]
    fn a_partition_is_taken_back_before_it_is_assigned() {
        let mut additions = Additions::default();
        additions.add(part("a"), 5);
        additions.add(part("b"), 7);
        assert!(additions.take_back(&part("a")), "positioned twice, or halted, in one round");
        assert!(!additions.take_back(&part("a")), "now it is in the assignment, if anywhere");
        additions.add(part("a"), 3);
        let all: Vec<_> = additions.iter().map(|(part, offset)| (part.topic.as_str(), offset)).collect();
        assert_eq!(all, [("b", 7), ("a", 3)]);
    }

    const ROOMY: Limits = Limits { lane: 1 << 20, total: 1 << 20 };

    #[test]
    fn records_reach_the_lane_from_its_position_on() {
        let mut lanes = lanes(ROOMY);
        let spawned = assign(&mut lanes, &["a", "b"]);
        assert!(!lanes.take("a", 0, 5, b"", b"x"));
        lanes.flush(spawned[0].0, true);
        assert!(!lanes.has_room(spawned[0].0), "nothing is fetched for it");
        assert!(matches!(spawned[0].1.queue.take(), Taken::Nothing), "no position yet");

        let stream = spawned[0].1.queue.begin_stream();
        let placed = lanes.position(spawned[0].0, stream, 6);
        assert_eq!(placed, Some(Placement { part: part("a"), assigned: false }));
        for offset in [5, 6, 6, 8] {
            lanes.take("a", 0, offset, b"", b"x");
        }
        lanes.flush(spawned[0].0, true);
        let Taken::Chunk(chunk) = spawned[0].1.queue.take() else { panic!("a chunk") };
        assert!(chunk.quiet);
        assert_eq!(
            (chunk.len(), chunk.get(0).map(|r| r.offset), chunk.get(1).map(|r| r.offset)),
            (2, Some(6), Some(8))
        );
    }

    #[test]
    fn what_comes_for_an_ended_lane_finds_nothing() {
        let mut lanes = lanes(ROOMY);
        let first = assign(&mut lanes, &["a"]);
        assert!(assign(&mut lanes, &["a"]).is_empty(), "an owned partition keeps its lane");
        let stream = first[0].1.queue.begin_stream();
        lanes.position(first[0].0, stream, 0);
        let revoked = lanes.revoke(&[part("a"), part("never")]);
        assert_eq!(revoked.unassign, [part("a")]);
        assert_eq!(revoked.lanes.len(), 1);
        let second = assign(&mut lanes, &["a"]);
        assert_ne!(first[0].0, second[0].0);
        assert_eq!(lanes.position(first[0].0, stream, 3), None, "an answer older than the revocation");
        assert_eq!(lanes.halt(first[0].0), None);
        assert_eq!(lanes.part(first[0].0), None);
        assert!(lanes.revoke(&[part("a")]).unassign.is_empty(), "it was not fetching");
    }

    #[test]
    fn a_full_lane_gets_nothing_until_it_is_below_half() {
        let mut lanes = lanes(Limits { lane: 100, total: 1 << 20 });
        let spawned = assign(&mut lanes, &["a"]);
        let (id, handle) = (spawned[0].0, &spawned[0].1);
        let stream = handle.queue.begin_stream();
        lanes.position(id, stream, 0);
        for offset in [0, 1, 2] {
            assert!(lanes.has_room(id)); // a record of 20 bytes counts 44
            lanes.take("a", 0, offset, b"", &[0; 20]);
            lanes.flush(id, false);
        }
        assert!(!lanes.has_room(id));
        assert!(matches!(handle.queue.take(), Taken::Chunk(_)));
        assert!(!lanes.has_room(id));
        assert!(matches!(handle.queue.take(), Taken::Chunk(_)));
        assert!(lanes.has_room(id));
    }

    #[test]
    fn a_full_chunk_does_not_wait_for_the_flush() {
        let mut lanes = lanes(ROOMY);
        let spawned = assign(&mut lanes, &["a"]);
        let stream = spawned[0].1.queue.begin_stream();
        lanes.position(spawned[0].0, stream, 0);
        lanes.take("a", 0, 0, b"", &vec![0; CHUNK_BYTES]);
        assert!(matches!(spawned[0].1.queue.take(), Taken::Chunk(c) if !c.quiet));
    }

    #[test]
    fn marks_pass_control_records_but_never_records() {
        let mut lanes = lanes(ROOMY);
        let spawned = assign(&mut lanes, &["a"]);
        let (id, queue) = (spawned[0].0, &spawned[0].1.queue);
        let stream = queue.begin_stream();
        lanes.position(id, stream, 4);
        lanes.mark("a", 0, 4);
        assert!(matches!(queue.take(), Taken::Nothing));
        lanes.mark("a", 0, 5);
        assert!(matches!(queue.take(), Taken::Mark(5)));
        lanes.take("a", 0, 5, b"", b"x");
        lanes.mark("a", 0, 7);
        lanes.flush(id, true);
        assert!(matches!(queue.take(), Taken::Chunk(_)), "taken in before the mark, so the mark had to wait");
        assert!(matches!(queue.take(), Taken::Nothing));

        // Back to 2: the consumer's position may still be that of the old stream.
        let stream = queue.begin_stream();
        assert!(lanes.position(id, stream, 2).is_some_and(|p| p.assigned));
        lanes.mark("a", 0, 7);
        assert!(matches!(queue.take(), Taken::Nothing));
        lanes.take("a", 0, 2, b"", b"x");
        lanes.flush(id, true);
        lanes.mark("a", 0, 3);
        lanes.mark("a", 0, 4);
        assert!(matches!(queue.take(), Taken::Chunk(_)));
        assert!(matches!(queue.take(), Taken::Mark(4)));
    }

    #[test]
    fn the_group_is_told_what_changed() {
        let mut lanes = lanes(ROOMY);
        let spawned = assign(&mut lanes, &["a", "b"]);
        assert!(lanes.untold().is_empty());
        spawned[1].1.committed.store(7, Ordering::Relaxed);
        assert_eq!(lanes.untold(), [(part("b"), 7)]);
        assert!(lanes.untold().is_empty());
    }
}
