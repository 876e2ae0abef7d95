//! A TCP proxy between a worker and ZooKeeper.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::site::until;

/// What the proxy does with the connections through it, those there are and those to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Everything passes.
    Up,
    /// Connections are closed as soon as they are opened.
    Cut,
    /// Connections stay open and nothing passes: what a dead host looks like.
    Silent,
    /// Requests pass, answers are lost.
    Deaf,
    /// As up, and deaf from the first transaction (ZooKeeper's multi) on.
    DeafToCommits,
}

/// ZooKeeper's operation code of a multi; a request is its length, a number and the code, four bytes each.
const MULTI: [u8; 4] = [0, 0, 0, 14];

/// A running proxy; ends with its value.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: String,
    faults: Faults,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Faults {
    link: Arc<watch::Sender<Link>>,
    /// Raised by one at each cut: a connection ends even if the link is up again before it looks.
    cuts: Arc<watch::Sender<u64>>,
    /// Bytes of answers lost since the link was last set.
    lost: Arc<watch::Sender<usize>>,
}

impl Proxy {
    pub(crate) async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let faults = Faults {
            link: Arc::new(watch::Sender::new(Link::Up)),
            cuts: Arc::new(watch::Sender::new(0)),
            lost: Arc::new(watch::Sender::new(0)),
        };
        let task = tokio::spawn(accept(listener, upstream.to_owned(), faults.clone()));
        Self { address, faults, task }
    }

    pub(crate) fn set(&self, link: Link) {
        self.faults.lost.send_replace(0);
        self.faults.link.send_replace(link);
        if link == Link::Cut {
            self.faults.cuts.send_modify(|count| *count += 1);
        }
    }

    /// Waits until the server has answered and the answer was lost.
    pub(crate) async fn lost_an_answer(&self) {
        until(&mut self.faults.lost.subscribe(), "an answer to lose", |bytes| *bytes > 0).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Link::Cut);
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, upstream: String, faults: Faults) {
    while let Ok((client, _)) = listener.accept().await {
        if *faults.link.borrow() == Link::Cut {
            continue;
        }
        if let Ok(server) = TcpStream::connect(&upstream).await {
            tokio::spawn(connection(client, server, faults.clone()));
        }
    }
}

async fn connection(client: TcpStream, server: TcpStream, faults: Faults) {
    let mut cuts = faults.cuts.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, &faults, Direction::Requests) => {}
        () = pump(from_server, to_client, &faults, Direction::Answers) => {}
        _ = cuts.changed() => {}
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Answers,
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, faults: &Faults, direction: Direction) {
    let mut buffer = vec![0; 64 << 10];
    let mut link = faults.link.subscribe();
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let passing = &buffer[..length];
        let Ok(now) = link.wait_for(|link| *link != Link::Silent).await.map(|link| *link) else { return };
        if direction == Direction::Answers && now == Link::Deaf {
            faults.lost.send_modify(|bytes| *bytes += length);
            continue;
        }
        if direction == Direction::Requests && now == Link::DeafToCommits && passing.get(8..12) == Some(&MULTI) {
            faults.link.send_replace(Link::Deaf);
        }
        if to.write_all(passing).await.is_err() {
            return;
        }
    }
}
