//! Records on their way from a pipeline's consumer thread to a lane.
//!
//! The consumer copies keys and values into a [`Chunk`], one arena with ranges, and hands it over when there is nothing more to
//! poll or the chunk is full; so a record costs no allocation and a lone one no delay. A [`LaneQueue`] has one producer
//! (the consumer thread, which never blocks) and one reader (the lane). It is bounded in bytes by [`Limits`]: above a limit the
//! consumer polls no more of the partition, and the lane asks for more below the low mark. What may be in the queue beyond the
//! limit is one chunk. librdkafka itself is not told to pause: it would throw away what it has fetched, and fetching it
//! again costs a quarter of a second each time; its own queue of the partition is bounded, so it stops by itself.
//!
//! Every (re)positioning of a lane begins a new *stream*, a number. Chunks and marks of an older stream are dropped
//! wherever they are met; that is what makes it safe to reposition while records are on their way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Records of one lane in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// Whether there was nothing more to poll when it was handed over: no later record was waiting.
    pub(crate) quiet: bool,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    offset: i64,
    /// End of the key in the arena; it begins where the record before ends.
    key_end: usize,
    /// End of the value, which begins where the key ends.
    end: usize,
}

/// A record in its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordRef<'a> {
    /// Its offset.
    pub(crate) offset: i64,
    /// Its key, framed; empty when it has none.
    pub(crate) key: &'a [u8],
    /// Its value, framed; empty when it has none.
    pub(crate) value: &'a [u8],
}

impl Chunk {
    /// Copies a record in.
    pub(crate) fn push(&mut self, offset: i64, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.records.push(Record { offset, key_end, end: self.bytes.len() });
    }

    /// Count of records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory it stands for.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<Record>()
    }

    /// A record.
    pub(crate) fn get(&self, at: usize) -> Option<RecordRef<'_>> {
        let record = self.records.get(at)?;
        let start = match at.checked_sub(1) {
            Some(before) => self.records.get(before)?.end,
            None => 0,
        };
        let key = self.bytes.get(start..record.key_end)?;
        let value = self.bytes.get(record.key_end..record.end)?;
        Some(RecordRef { offset: record.offset, key, value })
    }
}

/// How many bytes may wait between the consumer and the lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// A lane gets nothing more when this many bytes wait for it.
    pub(crate) lane: usize,
    /// Once this many bytes wait for all lanes of the process, a lane gets no more than its equal share.
    pub(crate) total: usize,
}

impl Limits {
    /// Whether a lane with `waiting` bytes must be paused, when `total` bytes wait for `lanes` lanes.
    pub(crate) fn must_pause(self, waiting: usize, total: usize, lanes: usize) -> bool {
        waiting >= self.lane || (total >= self.total && waiting >= self.total / lanes.max(1))
    }

    /// Whether a full lane with `waiting` bytes may go on. Half of the limit, so that it does not go chunk by chunk; an
    /// empty queue always may.
    pub(crate) fn may_resume(self, waiting: usize, total: usize, lanes: usize) -> bool {
        let share = self.total / lanes.max(1);
        waiting == 0 || (waiting <= self.lane / 2 && (total < self.total || waiting <= share / 2))
    }
}

/// What waits for all lanes of the process, and how many they are.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    bytes: AtomicUsize,
    lanes: AtomicUsize,
}

impl Waiting {
    /// The bytes now.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The lanes now.
    pub(crate) fn lanes(&self) -> usize {
        self.lanes.load(Ordering::Relaxed)
    }
}

/// What the lane finds in its queue.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Records.
    Chunk(Chunk),
    /// No records, and the consumer has passed everything below this offset: what lies between were control records.
    Mark(i64),
    /// Nothing.
    Nothing,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    mark: Option<i64>,
    stream: u64,
    paused: bool,
}

/// The queue of one lane.
#[derive(Debug)]
pub(crate) struct LaneQueue {
    inner: Mutex<Inner>,
    pushed: Notify,
    total: Arc<Waiting>,
}

impl LaneQueue {
    /// An empty queue that counts its bytes into `total` too.
    pub(crate) fn new(total: Arc<Waiting>) -> Self {
        total.lanes.fetch_add(1, Ordering::Relaxed);
        Self { inner: Mutex::default(), pushed: Notify::new(), total }
    }

    /// Adds a chunk of a stream; one of another stream than the current is dropped.
    pub(crate) fn push(&self, stream: u64, chunk: Chunk) {
        let mut inner = self.inner.lock();
        if inner.stream == stream {
            let weight = chunk.weight();
            inner.bytes += weight;
            self.total.bytes.fetch_add(weight, Ordering::Relaxed);
            inner.chunks.push_back(chunk);
            self.pushed.notify_one();
        }
    }

    /// Notes that the queue is full, if that still holds for the bytes waiting now; the reader then
    /// asks for more once it has made room. Decided under the queue's lock, so that a reader that has just emptied the
    /// queue is not left waiting for ever.
    pub(crate) fn pause_if(&self, must: impl FnOnce(usize) -> bool) -> bool {
        let mut inner = self.inner.lock();
        inner.paused = must(inner.bytes);
        inner.paused
    }

    /// Notes that the partition is delivered again, if the queue has room for it.
    pub(crate) fn resume_if(&self, may: impl FnOnce(usize) -> bool) -> bool {
        let mut inner = self.inner.lock();
        let resumed = inner.paused && may(inner.bytes);
        inner.paused &= !resumed;
        resumed
    }

    /// Whether the reader should ask for more.
    pub(crate) fn is_paused(&self) -> bool {
        self.inner.lock().paused
    }

    /// Says that everything below `offset` has been pushed; see [`Taken::Mark`].
    pub(crate) fn mark(&self, stream: u64, offset: i64) {
        let mut inner = self.inner.lock();
        if inner.stream == stream {
            inner.mark = Some(offset);
            self.pushed.notify_one();
        }
    }

    /// Takes the next thing out. A mark comes only when no chunk is before it.
    pub(crate) fn take(&self) -> Taken {
        let mut inner = self.inner.lock();
        if let Some(chunk) = inner.chunks.pop_front() {
            let weight = chunk.weight();
            inner.bytes -= weight;
            self.total.bytes.fetch_sub(weight, Ordering::Relaxed);
            return Taken::Chunk(chunk);
        }
        inner.mark.take().map_or(Taken::Nothing, Taken::Mark)
    }

    /// Waits until something was pushed since the last call. May return although the queue is empty.
    pub(crate) async fn changed(&self) {
        self.pushed.notified().await;
    }

    /// Drops everything and begins a new stream, whose number it answers.
    pub(crate) fn begin_stream(&self) -> u64 {
        let mut inner = self.inner.lock();
        self.total.bytes.fetch_sub(inner.bytes, Ordering::Relaxed);
        *inner = Inner { stream: inner.stream + 1, ..Inner::default() };
        inner.stream
    }
}

impl Drop for LaneQueue {
    fn drop(&mut self) {
        self.total.bytes.fetch_sub(self.inner.get_mut().bytes, Ordering::Relaxed);
        self.total.lanes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offsets: &[i64]) -> Chunk {
        let mut chunk = Chunk::default();
        for offset in offsets {
            chunk.push(*offset, b"k", format!("v{offset}").as_bytes());
        }
        chunk
    }

    #[test]
    fn records_come_back_from_the_arena() {
        let mut chunk = chunk(&[7, 9]);
        chunk.push(10, b"", b"");
        assert_eq!(chunk.get(0), Some(RecordRef { offset: 7, key: b"k", value: b"v7" }));
        assert_eq!(chunk.get(1), Some(RecordRef { offset: 9, key: b"k", value: b"v9" }));
        assert_eq!(chunk.get(2), Some(RecordRef { offset: 10, key: b"", value: b"" }));
        assert_eq!(chunk.get(3), None);
    }

    #[test]
    fn an_older_stream_is_dropped() {
        let total = Arc::new(Waiting::default());
        let queue = LaneQueue::new(Arc::clone(&total));
        let first = queue.begin_stream();
        queue.push(first, chunk(&[1]));
        assert!(total.bytes() > 0);
        let second = queue.begin_stream();
        assert_eq!(total.bytes(), 0);
        queue.push(first, chunk(&[2]));
        queue.mark(first, 9);
        assert!(matches!(queue.take(), Taken::Nothing));
        queue.push(second, chunk(&[3]));
        queue.mark(second, 5);
        assert!(matches!(queue.take(), Taken::Chunk(c) if c.get(0).is_some_and(|r| r.offset == 3)));
        assert!(matches!(queue.take(), Taken::Mark(5)));
        assert_eq!(total.bytes(), 0);
        queue.push(second, chunk(&[6]));
        drop(queue);
        assert_eq!(total.bytes(), 0);
    }

    #[test]
    fn a_lane_is_paused_at_its_limit_or_at_its_share_of_a_full_process() {
        let limits = Limits { lane: 100, total: 1000 };
        assert!(!limits.must_pause(99, 0, 5));
        assert!(limits.must_pause(100, 0, 5));
        assert!(!limits.must_pause(99, 1000, 5), "its share is 200");
        assert!(limits.must_pause(50, 1000, 20));
        assert!(!limits.must_pause(49, 1000, 20));
        assert!(limits.may_resume(50, 0, 5));
        assert!(!limits.may_resume(51, 0, 5));
        assert!(!limits.may_resume(40, 1000, 20), "the process is still full");
        assert!(limits.may_resume(0, 5000, 20), "an empty lane may always go on");
    }
}
