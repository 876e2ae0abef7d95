//! Waiting for a condition.

use super::{Result, bail};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Asks `look` every 10 ms until it answers `Ok`; fails at the deadline with the last `Err`, the state seen.
pub(crate) async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match look().await {
            Ok(value) => return Ok(value),
            Err(state) if start.elapsed() >= limit => {
                bail!("waited {:.1} s for {what}; last seen: {state}", start.elapsed().as_secs_f64())
            }
            Err(_) => {}
        }
    }
}
