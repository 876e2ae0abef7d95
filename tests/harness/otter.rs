//! Processes of the `otter` binary.

use super::{Context as _, Result, Strain, bail, ensure, http, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use schemas::status::WorkerStatus;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a process may take from its start until its HTTP server answers.
const START: Duration = Duration::from_secs(60);
/// How long it is waited for one that was told to end; what it may take is up to the test.
const END: Duration = Duration::from_secs(120);

/// The file with a token of the role admin, in the folder of each site.
pub(crate) const TOKEN_FILE: &str = "token";

/// A running role; killed when dropped, and by the system when the test's process is killed.
#[derive(Debug)]
pub(crate) struct Otter {
    child: Child,
    name: String,
    log: PathBuf,
    http: Option<SocketAddr>,
}

/// What a command of the CLI left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The command line of the binary in a folder that has an `otter.toml`.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_otter")]).args(arguments);
    command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command of the CLI to its end.
pub(crate) async fn finish(mut command: Command) -> Result<Finished> {
    let output =
        timeout(Duration::from_secs(60), command.output()).await.context("otter did not end within 60 s")??;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

impl Otter {
    /// Starts a role; returns at once. `log` gets everything that the process prints.
    pub(crate) fn spawn(mut command: Command, name: String, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn().context("cannot start otter")?;
        Ok(Self { child, name, log, http: None })
    }

    /// Waits until the process answers on its HTTP port.
    pub(crate) async fn answering(&mut self) -> Result<()> {
        let what = format!("{} to answer", self.name);
        wait_for(&what, START, async || match self.status().await {
            Ok(Ok(_)) => Ok(Ok(())),
            Ok(Err(waiting)) => Err(waiting),
            Err(ended) => Ok(Err(ended)),
        })
        .await
        .with_context(|| self.tail())?
    }

    /// Where it serves HTTP, once it has said so.
    pub(crate) fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Its status, or why there is none yet.
    ///
    /// # Errors
    /// When the process has ended.
    pub(crate) async fn status(&mut self) -> Result<std::result::Result<WorkerStatus, String>> {
        self.ensure_running()?;
        if self.http.is_none() {
            self.http = std::fs::read_to_string(&self.log)?.lines().find_map(http_address);
        }
        let Some(address) = self.http else { return Ok(Err("no HTTP address in the log".to_owned())) };
        let token = std::fs::read_to_string(self.log.with_file_name(TOKEN_FILE))?;
        let status = async { Ok(serde_json::from_str(&http::get(address, "/status", &token).await?)?) };
        Ok(status.await.map_err(|error: anyhow::Error| format!("{error:#}")))
    }

    /// Where it serves HTTP, once it answers.
    pub(crate) fn address(&self) -> Result<SocketAddr> {
        self.http.context("it has not answered yet")
    }

    /// Waits until the status fits; `look` says what it sees otherwise.
    pub(crate) async fn wait_status<T>(
        &mut self,
        what: &str,
        limit: Duration,
        look: impl Fn(&WorkerStatus) -> Option<T>,
    ) -> Result<T> {
        let what = format!("{}: {what}", self.name);
        wait_for(&what, limit, async || match self.status().await {
            Ok(Ok(status)) => look(&status).map(Ok).ok_or_else(|| format!("{status:?}")),
            Ok(Err(waiting)) => Err(waiting),
            Err(ended) => Ok(Err(ended)),
        })
        .await?
    }

    /// Fails with the end of the log when the process has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself, {status}\n{}", self.name, self.tail()),
        }
    }

    /// kill -9; returns when the process is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.ensure_running()?;
        self.child.kill().await?;
        Ok(())
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    pub(crate) fn thaw(&mut self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGTERM; the process must end well, within `limit` on a machine that has processors to spare.
    pub(crate) async fn stop(mut self, limit: Duration) -> Result<()> {
        let (start, strain) = (Instant::now(), Strain::begin());
        self.signal(Signal::SIGTERM)?;
        let status = self.ended(END).await?;
        let took = start.elapsed();
        ensure!(status.success(), "{} ended with {status} after SIGTERM\n{}", self.name, self.tail());
        ensure!(took < strain.stretched(limit), "{} took {took:?} to end, not {limit:?}\n{}", self.name, self.tail());
        Ok(())
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        match timeout(limit, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("{} did not end within {limit:?}\n{}", self.name, self.tail()),
        }
    }

    /// Everything that it has printed so far.
    pub(crate) fn printed(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        self.ensure_running()?;
        let pid = self.child.id().context("it has ended")?;
        Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
    }

    fn tail(&self) -> String {
        tail(&self.log)
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(40);
    format!("the end of {}:\n{}", log.display(), lines[from..].join("\n"))
}

/// The address in the log line that says where HTTP is served.
fn http_address(line: &str) -> Option<SocketAddr> {
    let rest = line.split_once("http://")?.1;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
