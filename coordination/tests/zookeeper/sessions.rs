//! Sessions that expire: what was ephemeral comes back, and what was given back goes at once.

use coordination::{Coordination, WorkerInfo};

use super::proxy::Link;
use super::site::{Site, eventually};

fn info(id: &str) -> WorkerInfo {
    WorkerInfo {
        id: id.to_owned(),
        roles: vec!["capture".to_owned()],
        host: "host".to_owned(),
        version: "0.1.0".to_owned(),
        status_address: Some("127.0.0.1:1".to_owned()),
    }
}

pub(crate) async fn ids(coordination: &Coordination) -> Vec<String> {
    coordination.workers().await.expect("an answer").into_iter().map(|worker| worker.id).collect()
}

/// Announces a worker and waits until another connection sees it.
pub(crate) async fn announce(worker: &Coordination, watcher: &Coordination) {
    worker.register_worker(&info("w1")).expect("a good id");
    eventually("the worker", async || ids(watcher).await, |ids| *ids == ["w1"]).await;
}

/// Waits until the server has ended the session of the worker announced.
pub(crate) async fn expired(watcher: &Coordination) {
    eventually("the expiry", async || ids(watcher).await, Vec::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_announced_again_after_its_session_expired() {
    let site = Site::new();
    let (worker, proxy) = site.connect_through().await;
    let watcher = site.connect().await;
    announce(&worker, &watcher).await;
    assert_eq!(watcher.workers().await.unwrap(), [info("w1")]);
    proxy.set(Link::Cut);
    expired(&watcher).await;
    proxy.set(Link::Up);
    eventually("the worker again", async || ids(&watcher).await, |ids| *ids == ["w1"]).await;
    assert!(worker.is_connected());

    let closing = worker.clone();
    closing.close().await;
    assert!(ids(&watcher).await.is_empty(), "closing takes the worker's node away at once");
    assert_eq!(worker.workers().await.unwrap_err().code(), schemas::Code::ZooKeeperUnavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_deleted_by_hand_comes_back() {
    let site = Site::new();
    let worker = site.connect().await;
    announce(&worker, &worker).await;
    let plain = site.plain().await;
    let (_, first) = plain.get_data("/workers/w1").await.unwrap();
    plain.delete("/workers/w1", None).await.unwrap();
    eventually(
        "another node",
        async || plain.check_stat("/workers/w1").await.unwrap().map(|stat| stat.czxid),
        |czxid| czxid.is_some_and(|czxid| czxid > first.czxid),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_handle_closes_the_session() {
    let site = Site::new();
    let worker = site.connect().await;
    let watcher = site.connect().await;
    worker.register_worker(&info("w1")).unwrap();
    let live = worker.documents().watch(schemas::documents::Kind::Source).await.unwrap();
    drop(worker);
    expired(&watcher).await;
    drop(live);
}
