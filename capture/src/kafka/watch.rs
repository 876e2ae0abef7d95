//! Looks, while a session publishes, whether its topics are still those that were frozen.
//!
//! A producer cannot tell: it writes to whatever has the topic's name, and asks for a deleted topic until it gives up. So
//! the ids are compared at a topic's first use of a session, before any row, and every few seconds from then on. What was
//! published to another topic in between is in it; who deleted the one before is asked either way.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use coordination::FrozenTopic;
use parking_lot::Mutex;
use schemas::{Code, Error};

use super::topics::{Topics, is_same};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Topics of one look: brokers answer for thousands, but not for nothing.
const AT_ONCE: usize = 500;

/// The topics that a session publishes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct InUse(Arc<Mutex<BTreeMap<String, FrozenTopic>>>);

impl InUse {
    /// A topic is about to be used.
    pub(crate) fn add(&self, topic: &str, frozen: &FrozenTopic) {
        self.0.lock().insert(topic.to_owned(), frozen.clone());
    }

    /// The next ones behind this name; from the beginning behind the last.
    fn behind(&self, last: &str) -> Vec<(String, FrozenTopic)> {
        let topics = self.0.lock();
        let next = topics.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let mut next: Vec<_> = next.take(AT_ONCE).collect();
        if next.is_empty() {
            next = topics.iter().take(AT_ONCE).collect();
        }
        next.into_iter().map(|(topic, frozen)| (topic.clone(), frozen.clone())).collect()
    }
}

/// Returns once a topic in use is gone, or another one has its name.
pub(crate) async fn replaced(topics: &Topics, source: &str, used: &InUse) -> Error {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = String::new();
    loop {
        ticks.tick().await;
        let round = used.behind(&last);
        let Some((end, _)) = round.last() else { continue };
        last.clone_from(end);
        if let Some(error) = look(topics, source, &round).await {
            return error;
        }
    }
}

async fn look(topics: &Topics, source: &str, round: &[(String, FrozenTopic)]) -> Option<Error> {
    let names: Vec<&str> = round.iter().map(|(topic, _)| topic.as_str()).collect();
    let shown = match topics.describe(&names).await {
        Ok(shown) => shown,
        Err(error) => {
            // The producer says it, where it matters.
            tracing::debug!(source, %error, "the topics are not looked at");
            return None;
        }
    };
    let doubtful = round.iter().filter(|(topic, frozen)| !shown.get(topic).is_some_and(|shown| is_same(frozen, shown)));
    for (topic, frozen) in doubtful {
        match topics.check(source, topic, frozen).await {
            Err(error) if error.code() == Code::TopicReplaced => return Some(error),
            Err(error) => tracing::debug!(source, topic, %error, "a topic is not looked at"),
            Ok(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_topics_have_their_turn() {
        let used = InUse::default();
        assert!(used.behind("").is_empty());
        for number in 0..AT_ONCE + 2 {
            used.add(&format!("t{number:04}"), &FrozenTopic::new(1, "A"));
        }
        let first = used.behind("");
        assert_eq!((first.len(), first[0].0.as_str()), (AT_ONCE, "t0000"));
        let second = used.behind(&first[AT_ONCE - 1].0);
        assert_eq!(second.iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(), ["t0500", "t0501"]);
        assert_eq!(used.behind("t0501"), first);
    }
}
