//! The consumers of a pipeline in this process: members of the same group, each with a thread and lanes of its own.
//!
//! A consumer with very many partitions gets slow: its metadata, its assignments and its positions are lists of all of
//! them. So a process has one member for each [`Options::partitions_per_consumer`](crate::Options) partitions of the
//! pipeline. What is counted are all partitions that the pipeline follows, not those that the group has given to this
//! process: the group shares out evenly among members, so every process must have as many as the others, whatever it got.
//!
//! Failure: when one ends by itself, all are stopped, and the pipeline starts them again after a wait.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use coordination::Coordination;
use schemas::{Code, Error, Result};
use tokio::sync::{mpsc, watch};

use crate::config::Config;
use crate::consumer::{Mailbox, Request};
use crate::inquiry::Inquiry;

/// Members that a process has at most.
const MOST: usize = 64;
/// How often the partitions are counted without an occasion: a topic may get more of them.
const COUNT_EVERY: Duration = Duration::from_secs(30);
/// After an occasion they are counted twice, so long apart: brokers hear of a new topic one after the other.
const COUNT_AGAIN: Duration = Duration::from_secs(2);

/// A consumer in its thread.
struct Member {
    number: u64,
    mailbox: Arc<Mailbox>,
    thread: JoinHandle<()>,
}

/// Says how a member's thread ended, also when it panicked.
pub(crate) struct Ending {
    number: u64,
    ended: mpsc::Sender<(u64, Result<()>)>,
    result: Option<Result<()>>,
}

impl Ending {
    /// This is how.
    pub(crate) fn with(mut self, result: Result<()>) {
        self.result = Some(result);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let panicked = || Err(Error::new(Code::LaneFailed, "the consumer's thread panicked"));
        let result = self.result.take().unwrap_or_else(panicked);
        // Nobody waits any more when the process is being torn down; there is room for all that may run.
        drop(self.ended.try_send((self.number, result)));
    }
}

/// Starts a consumer on a thread.
pub(crate) trait Start {
    /// Its thread tells the outcome to `ending` and reads the mailbox.
    ///
    /// # Errors
    /// `OT1004` when librdkafka refuses a property, `OT4001` without a thread.
    fn start(&self, number: u64, mailbox: Arc<Mailbox>, ending: Ending) -> Result<JoinHandle<()>>;
}

/// The members. Dropped, they are told to end.
pub(crate) struct Handles<S> {
    start: S,
    members: Vec<Member>,
    leaving: Vec<Member>,
    last: u64,
    ended: mpsc::Receiver<(u64, Result<()>)>,
    ending: mpsc::Sender<(u64, Result<()>)>,
    failed: Option<Error>,
}

impl<S: Start> Handles<S> {
    /// None yet.
    pub(crate) fn new(start: S) -> Self {
        let (ending, ended) = mpsc::channel(2 * MOST);
        Self { start, members: Vec::new(), leaving: Vec::new(), last: 0, ended, ending, failed: None }
    }

    /// Makes them so many; those that are too many finish their batches and leave the group.
    ///
    /// # Errors
    /// As [`Start::start`].
    pub(crate) fn resize(&mut self, count: usize, topics: &[String]) -> Result<()> {
        let count = count.clamp(1, MOST);
        while self.members.len() > count
            && let Some(member) = self.members.pop()
        {
            member.mailbox.send(Request::Shutdown);
            self.leaving.push(member);
        }
        while self.members.len() < count && self.members.len() + self.leaving.len() < 2 * MOST {
            self.last += 1;
            let number = self.last;
            let mailbox = Arc::new(Mailbox::default());
            mailbox.send(Request::Topics(topics.to_vec()));
            let ending = Ending { number, ended: self.ending.clone(), result: None };
            let thread = self.start.start(number, Arc::clone(&mailbox), ending)?;
            self.members.push(Member { number, mailbox, thread });
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// They follow these topics from now on.
    pub(crate) fn follow(&self, topics: &[String]) {
        self.members.iter().for_each(|member| member.mailbox.send(Request::Topics(topics.to_vec())));
    }

    /// There may be a new topic.
    pub(crate) fn refresh(&self) {
        self.members.iter().for_each(|member| member.mailbox.send(Request::Refresh));
    }

    /// All are to end.
    pub(crate) fn stop(&mut self) {
        for member in self.members.drain(..) {
            member.mailbox.send(Request::Shutdown);
            self.leaving.push(member);
        }
    }

    /// Waits until the last one has ended; what went wrong first. When one fails, the others are stopped. May be dropped
    /// and called again.
    pub(crate) async fn end(&mut self) -> Result<()> {
        while !self.members.is_empty() || !self.leaving.is_empty() {
            let Some((number, result)) = self.ended.recv().await else { break };
            if let Err(error) = result {
                self.failed.get_or_insert(error);
            }
            if self.members.iter().any(|member| member.number == number) {
                // It has ended by itself.
                self.stop();
            }
            if let Some(at) = self.leaving.iter().position(|member| member.number == number) {
                let member = self.leaving.swap_remove(at);
                // It has said its last word, so it ends now.
                drop(tokio::task::spawn_blocking(move || member.thread.join()));
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }
}

impl<S> Drop for Handles<S> {
    fn drop(&mut self) {
        self.members.iter().for_each(|member| member.mailbox.send(Request::Shutdown));
    }
}

/// Keeps counting the partitions of a pipeline's topics until nobody listens.
pub(crate) async fn follow_count(
    inquiry: Inquiry,
    coordination: Coordination,
    config: watch::Receiver<Arc<Config>>,
    count: watch::Sender<usize>,
) {
    tokio::select! {
        () = count.closed() => {}
        () = keep_counting(&inquiry, &coordination, config, &count) => {}
    }
}

async fn keep_counting(
    inquiry: &Inquiry,
    coordination: &Coordination,
    mut config: watch::Receiver<Arc<Config>>,
    count: &watch::Sender<usize>,
) {
    let mut source = config.borrow().source_name().to_owned();
    let mut occasions = coordination.watch_topics(&source);
    loop {
        let (over, occasion) = tokio::select! {
            changed = config.changed() => (changed.is_err(), true),
            told = occasions.changed() => (told.is_err(), true),
            () = tokio::time::sleep(COUNT_EVERY) => (false, false),
        };
        if over {
            return;
        }
        for again in [occasion, false] {
            let now = Arc::clone(&config.borrow_and_update());
            if now.source_name() != source {
                now.source_name().clone_into(&mut source);
                occasions = coordination.watch_topics(&source);
            }
            match partitions(inquiry, &now).await {
                Ok(partitions) => drop(count.send(partitions)),
                Err(error) => tracing::debug!(%error, "the partitions were not counted"),
            }
            if !again {
                break;
            }
            tokio::time::sleep(COUNT_AGAIN).await;
        }
    }
}

/// The partitions of the topics that a pipeline follows now. Topics with cut names are not among them.
///
/// # Errors
/// `OT4001` without an answer.
pub(crate) async fn partitions(inquiry: &Inquiry, config: &Config) -> Result<usize> {
    let follows = |topic: &str| {
        let table = config.table_of(topic);
        table.is_some_and(|table| matches!(config.plan(topic, &table), Ok(Some(_))))
    };
    let topics = inquiry.topic_sizes().await?;
    Ok(topics.iter().filter(|(topic, _)| follows(topic)).map(|(_, partitions)| partitions).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members that end when told to, or fail at once.
    struct Threads {
        fails: Option<u64>,
    }

    impl Start for Threads {
        fn start(&self, number: u64, mailbox: Arc<Mailbox>, ending: Ending) -> Result<JoinHandle<()>> {
            let fails = self.fails == Some(number);
            let run = move || {
                mailbox.attach(std::thread::current());
                while !fails && !mailbox.take().iter().any(|request| matches!(request, Request::Shutdown)) {
                    std::thread::park();
                }
                let failed = || Err(Error::new(Code::KafkaUnavailable, "failed"));
                ending.with(if fails { failed() } else { Ok(()) });
            };
            Ok(std::thread::spawn(run))
        }
    }

    #[tokio::test]
    async fn members_come_and_go() {
        let mut handles = Handles::new(Threads { fails: None });
        for count in [1, 3, 2, 0] {
            handles.resize(count, &[]).expect("threads");
            assert_eq!(handles.count(), count.max(1));
        }
        handles.stop();
        handles.end().await.expect("no error");
    }

    #[tokio::test]
    async fn one_that_fails_ends_all() {
        let mut handles = Handles::new(Threads { fails: Some(2) });
        handles.resize(3, &[]).expect("threads");
        assert_eq!(handles.end().await.expect_err("failed").code(), Code::KafkaUnavailable);
        assert_eq!(handles.count(), 0);
    }
}
