//! A TCP proxy that delays, cuts, half-closes and swallows replies.
//!
//! It stands between a role and a MariaDB server. All faults are counted or switched by the test and act on whole connections.

use super::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// What the client sends to commit: COM_QUERY with this text.
const COMMIT: &[u8] = b"\x03COMMIT";

/// A running proxy; ends with its value.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where clients connect to.
    pub(crate) address: SocketAddr,
    faults: Arc<Faults>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Faults {
    upstream: String,
    /// COMMITs whose reply is still to be lost.
    lose_replies: AtomicU32,
    /// COMMITs that are still to be lost themselves.
    lose_commits: AtomicU32,
    lost: AtomicU32,
    delay_ms: AtomicU64,
    /// Raised by one at each cut.
    cuts: watch::Sender<u64>,
    /// Raised by one at each half-close.
    half_closes: watch::Sender<u64>,
}

/// What becomes of a connection after a piece of the client's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    LoseReply,
    LoseCommit,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `upstream`.
    pub(crate) async fn start(upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let faults = Arc::new(Faults {
            upstream: upstream.to_owned(),
            lose_replies: AtomicU32::new(0),
            lose_commits: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            delay_ms: AtomicU64::new(0),
            cuts: watch::Sender::new(0),
            half_closes: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&faults)));
        Ok(Self { address, faults, task })
    }

    /// The next `count` COMMITs reach the server, which carries them out; the reply is lost and the connection cut.
    pub(crate) fn lose_commit_replies(&self, count: u32) {
        self.faults.lose_replies.store(count, Ordering::SeqCst);
    }

    /// The next `count` COMMITs do not reach the server; the connection is cut.
    pub(crate) fn lose_commits(&self, count: u32) {
        self.faults.lose_commits.store(count, Ordering::SeqCst);
    }

    /// How many COMMITs or replies were lost so far.
    pub(crate) fn lost(&self) -> u32 {
        self.faults.lost.load(Ordering::SeqCst)
    }

    /// Each piece of data is held back for so long, in both directions.
    pub(crate) fn delay(&self, time: Duration) {
        self.faults.delay_ms.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Ends every connection there is.
    pub(crate) fn cut(&self) {
        self.faults.cuts.send_modify(|count| *count += 1);
    }

    /// Ends the direction from server to client of every connection there is.
    pub(crate) fn half_close(&self) {
        self.faults.half_closes.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

impl Faults {
    fn fate(&self, sent: &[u8]) -> Fate {
        if !sent.windows(COMMIT.len()).any(|window| window.eq_ignore_ascii_case(COMMIT)) {
            return Fate::Pass;
        }
        let take =
            |left: &AtomicU32| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        let fate = match (take(&self.lose_replies), &self.lose_commits) {
            (true, _) => Fate::LoseReply,
            (false, left) if take(left) => Fate::LoseCommit,
            _ => return Fate::Pass,
        };
        self.lost.fetch_add(1, Ordering::SeqCst);
        fate
    }

    async fn hold_back(&self) {
        let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

async fn accept(listener: TcpListener, faults: Arc<Faults>) {
    while let Ok((client, _)) = listener.accept().await {
        // the server being away ends the connection, as it would without the proxy
        if let Ok(server) = TcpStream::connect(&faults.upstream).await {
            tokio::spawn(connection(client, server, Arc::clone(&faults)));
        }
    }
}

async fn connection(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    // without this the delayed acknowledgements add 40 ms to what is measured
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let mut cuts = faults.cuts.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let swallow = Notify::new();
    tokio::select! {
        () = upstream(from_client, to_server, &faults, &swallow) => {}
        () = downstream(from_server, to_client, &faults, &swallow) => {}
        _ = cuts.changed() => {}
    }
}

/// Client to server; returns when the connection is to end.
async fn upstream(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, faults: &Faults, swallow: &Notify) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = client.read(&mut buffer).await {
        faults.hold_back().await;
        let sent = &buffer[..length];
        match faults.fate(sent) {
            Fate::Pass => {}
            Fate::LoseReply => swallow.notify_one(),
            Fate::LoseCommit => return,
        }
        if server.write_all(sent).await.is_err() {
            return;
        }
    }
}

/// Server to client; after `swallow` the next reply ends the connection unseen.
async fn downstream(mut server: OwnedReadHalf, mut client: OwnedWriteHalf, faults: &Faults, swallow: &Notify) {
    let mut buffer = vec![0; 64 << 10];
    let mut half_closes = faults.half_closes.subscribe();
    let mut losing = false;
    loop {
        let length = tokio::select! {
            biased;
            () = swallow.notified(), if !losing => { losing = true; continue }
            _ = half_closes.changed() => {
                drop(client);
                return std::future::pending().await; // the other direction goes on until the client ends it
            }
            read = server.read(&mut buffer) => match read { Ok(length @ 1..) => length, _ => return },
        };
        faults.hold_back().await;
        if losing || client.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
