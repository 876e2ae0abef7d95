//! A test that measures times has the machine to itself: the others wait meanwhile, and it waits for those that run.
//!
//! Every world counts from its making to its end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

static WORLDS: AtomicUsize = AtomicUsize::new(0);
static QUIET: AtomicBool = AtomicBool::new(false);

/// How often one who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A world that counts.
pub(crate) struct Presence(());

impl Presence {
    /// Waits while a test has the machine to itself.
    pub(crate) async fn enter() -> Self {
        loop {
            WORLDS.fetch_add(1, Ordering::SeqCst);
            let entered = Self(());
            if !QUIET.load(Ordering::SeqCst) {
                return entered;
            }
            drop(entered);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        WORLDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The machine for one test.
pub(crate) struct Alone(());

/// Waits until the caller's world is the only one; the others wait until the answer is dropped. It keeps nobody from
/// beginning before that: a test with two worlds would wait for one who waits for it.
pub(crate) async fn alone() -> Alone {
    loop {
        if WORLDS.load(Ordering::SeqCst) == 1 && !QUIET.swap(true, Ordering::SeqCst) {
            let alone = Alone(());
            if WORLDS.load(Ordering::SeqCst) == 1 {
                return alone;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        QUIET.store(false, Ordering::SeqCst);
    }
}
