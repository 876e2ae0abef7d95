//! Counts wrong tokens per address. Memory is bounded: beyond [`MAX_ADDRESSES`] the old windows go, then all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may give within a window.
const LIMIT: u32 = 10;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);
/// How many addresses are kept in mind.
const MAX_ADDRESSES: usize = 4096;

/// The windows by address; `None` stands for addresses that are not known.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<Option<IpAddr>, Window>>);

#[derive(Debug)]
struct Window {
    start: Instant,
    count: u32,
}

/// What an attempt is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Within the limit, the how many-th.
    Few(u32),
    /// The first one beyond it.
    First,
    /// Beyond it.
    Many,
}

impl Attempts {
    /// Counts one.
    pub(super) fn count(&self, address: Option<IpAddr>, now: Instant) -> Verdict {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |w: &Window| now.saturating_duration_since(w.start) >= WINDOW;
        if windows.len() >= MAX_ADDRESSES && !windows.contains_key(&address) {
            windows.retain(|_, w| !over(w));
            if windows.len() >= MAX_ADDRESSES {
                windows.clear();
            }
        }
        let window = windows.entry(address).or_insert(Window { start: now, count: 0 });
        if over(window) {
            *window = Window { start: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        match window.count {
            count if count <= LIMIT => Verdict::Few(count),
            count if count == LIMIT + 1 => Verdict::First,
            _ => Verdict::Many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_limits_one_address() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let one = Some("10.0.0.1".parse().expect("an address"));
        for count in 1..=LIMIT {
            assert_eq!(attempts.count(one, start), Verdict::Few(count));
        }
        assert_eq!(attempts.count(one, start), Verdict::First);
        assert_eq!(attempts.count(one, start), Verdict::Many);
        assert_eq!(attempts.count(None, start), Verdict::Few(1));
        assert_eq!(attempts.count(one, start + WINDOW), Verdict::Few(1));
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for i in 0..2 * MAX_ADDRESSES as u32 {
            attempts.count(Some(IpAddr::from(i.to_be_bytes())), start);
        }
        assert!(attempts.0.lock().expect("a lock").len() <= MAX_ADDRESSES);
    }
}
