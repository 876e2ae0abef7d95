//! The whole of ZooKeeper goes away for longer than the sessions, on a server of this test's own.

use std::path::Path;
use std::time::Duration;

use coordination::{Expected, LeaseState};
use schemas::documents::Kind;
use tokio_util::sync::CancellationToken;

use super::sessions::{announce, ids};
use super::site::{Site, eventually, source, until};

const PATH: &str = "/sources/shop/leader";

/// A server started by `deploy/servers`; ends with its value.
struct Private {
    folder: tempfile::TempDir,
}

impl Private {
    fn start() -> Self {
        let private = Self { folder: tempfile::tempdir().expect("a folder") };
        private.script(&["up", "--only", "zookeeper"]);
        private
    }

    fn address(&self) -> String {
        let port = std::fs::read_to_string(self.folder.path().join("zookeeper/port")).expect("it runs");
        format!("127.0.0.1:{}", port.trim())
    }

    fn script(&self, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/servers");
        let output = std::process::Command::new(script).args(arguments).arg(self.folder.path()).output();
        let output = output.expect("deploy/servers runs");
        assert!(output.status.success(), "deploy/servers {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.script(&["down"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back_after_zookeeper_was_away_longer_than_the_sessions() {
    let server = tokio::task::spawn_blocking(Private::start).await.unwrap();
    let site = Site::at(server.address());
    let worker = site.connect_briefly().await;
    let documents = worker.documents();
    documents.put(&source("shop", "one"), Expected::New).await.unwrap();
    let mut live = documents.watch(Kind::Source).await.unwrap();
    let lease = worker.acquire(PATH, "w1", &CancellationToken::new()).await.expect("free");
    announce(&worker, &worker).await;
    // A bystander with a session twice as long: when it has ended, the worker's has too.
    let bystander = zookeeper::Client::connector().with_session_timeout(Duration::from_secs(2));
    let bystander = bystander.connect(&site.servers).await.unwrap();

    let server = tokio::task::spawn_blocking(move || {
        server.script(&["kill", "zookeeper"]);
        server
    })
    .await
    .unwrap();
    let mut states = bystander.state_watcher();
    while !states.state().is_terminated() {
        states.changed().await;
    }
    assert_eq!(*lease.state().borrow(), LeaseState::Unknown);
    assert_eq!(live.borrow().len(), 1);
    let server = tokio::task::spawn_blocking(move || {
        server.script(&["restart", "zookeeper"]);
        server
    })
    .await
    .unwrap();

    until(&mut lease.state(), "the lease", |state| *state == LeaseState::Held).await;
    lease.write_fenced("/sources/shop/position", b"1").await.unwrap();
    eventually("the worker", async || ids(&worker).await, |ids| *ids == ["w1"]).await;
    documents.put(&source("shop", "two"), Expected::Version(0)).await.unwrap();
    until(&mut live, "a live change", |all| all["shop"].version == 1).await;
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
}
