//! SIGTERM and SIGINT: the first drains, a second one ends the process at once.

use schemas::{Code, Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Watches for signals, in a task of its own, and cancels `shutdown` at the first.
///
/// # Errors
/// `OT1010` when the handlers cannot be installed.
pub(crate) fn watch(shutdown: CancellationToken) -> Result<()> {
    let install = |kind| {
        signal(kind).map_err(|e| Error::new(Code::RoleFailed, format!("signals cannot be watched: {e}")).with_source(e))
    };
    let mut term = install(SignalKind::terminate())?;
    let mut int = install(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for second in [false, true] {
            let name = tokio::select! {
                Some(()) = term.recv() => "SIGTERM",
                Some(()) = int.recv() => "SIGINT",
                else => return,
            };
            if second {
                warn!(signal = name, "asked again, ending at once");
                std::process::exit(1);
            }
            info!(signal = name, "asked to end, draining; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}
