//! How much more there is to run than the machine has processors, while a test measures times.
//!
//! What the product promises in seconds it promises of a machine that has processors to spare. Tests run beside other
//! tests and builds, and a worker that gets a fifth of a processor is five times as slow without a fault. So a bound on a
//! time is stretched by the strain meanwhile: the mean count of runnable threads for each processor, at least one. On a
//! machine that is not short of processors nothing is stretched, and a stall, which is no matter of processors, is found
//! on any. Also used by the tests of apply.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(50);

/// The strain since it was made.
#[derive(Debug)]
pub(crate) struct Strain {
    seen: Arc<Seen>,
    watching: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Seen {
    end: AtomicBool,
    looks: AtomicU64,
    runnable: AtomicU64,
}

impl Strain {
    /// Begins to look.
    pub(crate) fn begin() -> Self {
        let seen = Arc::new(Seen::default());
        let looking = Arc::clone(&seen);
        let watching = std::thread::spawn(move || {
            while !looking.end.load(Ordering::Relaxed) {
                // The one that looks does not count.
                let others = runnable().saturating_sub(1);
                looking.runnable.fetch_add(others, Ordering::Relaxed);
                looking.looks.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(EVERY);
            }
        });
        Self { seen, watching: Some(watching) }
    }

    /// The mean so far, at least 1.
    pub(crate) fn mean(&self) -> f64 {
        let looks = self.seen.looks.load(Ordering::Relaxed).max(1);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mean = self.seen.runnable.load(Ordering::Relaxed) as f64 / looks as f64;
        (mean / processors as f64).max(1.0)
    }

    /// A bound as it is under this strain.
    pub(crate) fn stretched(&self, bound: Duration) -> Duration {
        bound.mul_f64(self.mean())
    }
}

impl Drop for Strain {
    fn drop(&mut self) {
        self.seen.end.store(true, Ordering::Relaxed);
        if let Some(watching) = self.watching.take() {
            watching.thread().unpark();
            drop(watching.join());
        }
    }
}

/// Threads that run or could run: the fourth field of the system's load, in front of the slash.
fn runnable() -> u64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let field = text.split(' ').nth(3).and_then(|field| field.split('/').next());
    field.and_then(|number| number.parse().ok()).unwrap_or_default()
}
