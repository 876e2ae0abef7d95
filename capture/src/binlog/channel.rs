//! The channel between the reader (a task) and the publisher (a thread), bounded in bytes.
//!
//! Events travel in chunks so that a hand-over costs little per event; the receiving end hands them out one by one.
//! The bound counts the bytes of the chunks that wait; one chunk larger than the bound passes when nothing else waits,
//! so the largest event decides the worst case. A dropped sender lets the receiver drain what is left and then
//! reports the end; a dropped receiver makes the sender's next call fail.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::event::RawEvent;

/// What one event costs beside its body, in bytes: the struct itself and its share of a buffer.
const OVERHEAD: usize = std::mem::size_of::<RawEvent>();

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    sender_gone: bool,
    receiver_gone: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    limit: usize,
    filled: Condvar,
    drained: Notify,
}

/// Events handed over together.
#[derive(Debug, Default)]
pub struct Chunk {
    events: Vec<RawEvent>,
    bytes: usize,
}

impl Chunk {
    /// Appends an event.
    pub fn push(&mut self, event: RawEvent) {
        self.bytes += event.body.len() + OVERHEAD;
        self.events.push(event);
    }

    /// Bytes as the channel counts them: bodies and what holds them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is no event in it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The sending end, for one task.
#[derive(Debug)]
pub struct Sender(Arc<Shared>);

/// The receiving end, for one thread.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    current: std::vec::IntoIter<RawEvent>,
}

/// What a receive call found.
#[derive(Debug)]
pub enum Received {
    /// The next event.
    Event(RawEvent),
    /// Nothing is there (yet).
    Empty,
    /// The sender is gone and everything it sent has been handed out.
    Closed,
}

/// The receiver is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the receiving end of the event channel is gone")]
pub struct ReceiverGone;

/// A channel that lets about `limit` bytes wait.
pub fn channel(limit: usize) -> (Sender, Receiver) {
    let state = State { chunks: VecDeque::new(), bytes: 0, sender_gone: false, receiver_gone: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), limit, filled: Condvar::new(), drained: Notify::new() });
    (Sender(Arc::clone(&shared)), Receiver { shared, current: Vec::new().into_iter() })
}

impl Sender {
    /// Hands a chunk over, waiting for room first. Cancelling the wait loses the chunk.
    pub async fn send(&mut self, chunk: Chunk) -> Result<(), ReceiverGone> {
        if chunk.is_empty() {
            return Ok(());
        }
        loop {
            {
                let mut state = self.0.state.lock();
                if state.receiver_gone {
                    return Err(ReceiverGone);
                }
                if state.bytes == 0 || state.bytes + chunk.bytes <= self.0.limit {
                    state.bytes += chunk.bytes;
                    state.chunks.push_back(chunk);
                    drop(state);
                    self.0.filled.notify_one();
                    return Ok(());
                }
            }
            // A permit stored between the check and here is kept by `Notify`: no wake-up is lost.
            self.0.drained.notified().await;
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state.lock().sender_gone = true;
        self.0.filled.notify_one();
    }
}

impl Receiver {
    /// The next event if there is one.
    pub fn try_recv(&mut self) -> Received {
        self.receive(None)
    }

    /// The next event, waiting for it at most `timeout`.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Received {
        self.receive(Some(timeout))
    }

    fn receive(&mut self, timeout: Option<Duration>) -> Received {
        if let Some(event) = self.current.next() {
            return Received::Event(event);
        }
        let deadline = timeout.map(|t| Instant::now() + t);
        let mut state = self.shared.state.lock();
        loop {
            if let Some(chunk) = state.chunks.pop_front() {
                state.bytes -= chunk.bytes;
                drop(state);
                self.shared.drained.notify_one();
                self.current = chunk.events.into_iter();
                return self.current.next().map_or(Received::Empty, Received::Event);
            }
            if state.sender_gone {
                return Received::Closed;
            }
            let Some(deadline) = deadline else { return Received::Empty };
            if self.shared.filled.wait_until(&mut state, deadline).timed_out() && state.chunks.is_empty() {
                return if state.sender_gone { Received::Closed } else { Received::Empty };
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.receiver_gone = true;
        state.chunks.clear();
        state.bytes = 0;
        drop(state);
        self.shared.drained.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn event(log_pos: u64, length: usize) -> RawEvent {
        RawEvent { event_type: 2, timestamp: 0, server_id: 1, log_pos, flags: 0, body: Bytes::from(vec![0; length]) }
    }

    fn chunk(positions: std::ops::Range<u64>, length: usize) -> Chunk {
        let mut chunk = Chunk::default();
        positions.for_each(|p| chunk.push(event(p, length)));
        chunk
    }

    #[tokio::test]
    async fn order_and_bound_hold_between_task_and_thread() {
        let limit = 4096;
        let (mut sender, mut receiver) = channel(limit);
        let shared = Arc::clone(&sender.0);
        let thread = std::thread::spawn(move || {
            let mut next = 0;
            loop {
                match receiver.recv_timeout(Duration::from_secs(10)) {
                    Received::Event(event) => {
                        assert_eq!(event.log_pos, next);
                        next += 1;
                    }
                    Received::Empty => panic!("nothing came for 10 s; received {next}"),
                    Received::Closed => return next,
                }
            }
        });
        for n in 0..2000 {
            sender.send(chunk(n * 10..n * 10 + 10, 100)).await.unwrap();
            assert!(shared.state.lock().bytes <= limit);
        }
        drop(sender);
        assert_eq!(thread.join().unwrap(), 20_000);
    }

    #[tokio::test]
    async fn a_chunk_beyond_the_bound_passes_alone() {
        let (mut sender, mut receiver) = channel(10);
        sender.send(chunk(0..1, 1000)).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(20), sender.send(chunk(1..2, 1000))).await;
        assert!(second.is_err(), "the second chunk must wait");
        assert!(matches!(receiver.try_recv(), Received::Event(e) if e.log_pos == 0));
        assert!(matches!(receiver.try_recv(), Received::Empty));
        sender.send(chunk(2..3, 1)).await.unwrap();
        drop(sender);
        assert!(matches!(receiver.try_recv(), Received::Event(e) if e.log_pos == 2));
        assert!(matches!(receiver.try_recv(), Received::Closed));
    }

    #[tokio::test]
    async fn a_sender_that_waits_learns_that_the_receiver_is_gone() {
        let (mut sender, receiver) = channel(10);
        sender.send(chunk(0..1, 1000)).await.unwrap();
        let waiting = tokio::spawn(async move { sender.send(chunk(1..2, 1000)).await });
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(ReceiverGone));
    }
}
