//! Documents: compare-and-set, also when the answer is lost, and live watches, also across a cut.

use std::time::Duration;

use coordination::{Expected, Snapshot};
use schemas::Code;
use schemas::documents::{Document, Kind};

use super::proxy::Link;
use super::sessions::{announce, expired};
use super::site::{Site, eventually, source, until};

fn prefix_of(snapshot: &Snapshot, name: &str) -> Option<String> {
    match &snapshot.get(name)?.value {
        Ok(Document::Source(source)) => source.topics.prefix.clone(),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_put_read_listed_and_deleted() {
    let documents = Site::new().connect().await.documents();
    let (one, two) = (source("shop", "one"), source("shop", "two"));
    assert_eq!(documents.get(Kind::Source, "shop").await.unwrap(), None);
    assert_eq!(documents.put(&one, Expected::New).await.unwrap(), 0);
    let code = |result: Result<i32, schemas::Error>| result.map_err(|e| e.code());
    assert_eq!(code(documents.put(&two, Expected::New).await), Err(Code::VersionConflict));
    assert_eq!(documents.put(&two, Expected::Version(0)).await.unwrap(), 1);
    let stale = documents.put(&one, Expected::Version(0)).await.unwrap_err();
    assert_eq!(stale.code(), Code::VersionConflict);
    assert!(stale.message().contains("version 1"), "{stale}");
    assert_eq!(code(documents.put(&source("other", "x"), Expected::Version(0)).await), Err(Code::NotFound));
    let found = documents.get(Kind::Source, "shop").await.unwrap().unwrap();
    assert_eq!((found.version, found.value), (1, two));
    assert_eq!(documents.put(&one, Expected::Any).await.unwrap(), 2);
    assert_eq!(documents.put(&source("other", "x"), Expected::Any).await.unwrap(), 0);
    let listed = documents.list(Kind::Source).await.unwrap();
    assert_eq!(listed.keys().collect::<Vec<_>>(), ["other", "shop"]);
    assert!(documents.list(Kind::Target).await.unwrap().is_empty());

    let code = |result: Result<(), schemas::Error>| result.map_err(|e| e.code());
    assert_eq!(code(documents.delete(Kind::Source, "shop", Some(1)).await), Err(Code::VersionConflict));
    documents.delete(Kind::Source, "shop", Some(2)).await.unwrap();
    assert_eq!(code(documents.delete(Kind::Source, "shop", None).await), Err(Code::NotFound));
    assert_eq!(code(documents.delete(Kind::Source, "../otter", None).await), Err(Code::NotFound));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_not_taken_for_a_conflict() {
    let site = Site::new();
    let (worker, proxy) = site.connect_through().await;
    let documents = worker.documents();
    documents.put(&source("shop", "one"), Expected::New).await.unwrap();
    for (expected, name, version) in [(Expected::Version(0), "shop", 1), (Expected::New, "fresh", 0)] {
        proxy.set(Link::Deaf);
        let writing = documents.clone();
        let task = tokio::spawn(async move { writing.put(&source(name, "two"), expected).await });
        let written = site.connect().await.documents();
        eventually(
            "the write to reach the server",
            async || written.get(Kind::Source, name).await.unwrap().map(|found| found.version),
            |seen| *seen == Some(version),
        )
        .await;
        proxy.lost_an_answer().await;
        proxy.set(Link::Cut);
        proxy.set(Link::Up);
        assert_eq!(task.await.unwrap().unwrap(), version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_shows_every_change_and_what_cannot_be_read_beside_the_rest() {
    let site = Site::new();
    let documents = site.connect().await.documents();
    documents.put(&source("shop", "one"), Expected::New).await.unwrap();
    let mut live = documents.watch(Kind::Source).await.unwrap();
    assert_eq!(prefix_of(&live.borrow(), "shop").as_deref(), Some("one"));

    let other = site.connect().await.documents();
    other.put(&source("shop", "two"), Expected::Any).await.unwrap();
    until(&mut live, "a change", |all| prefix_of(all, "shop").as_deref() == Some("two")).await;
    other.put(&source("second", "x"), Expected::New).await.unwrap();
    until(&mut live, "a new document", |all| all.len() == 2).await;

    let open = zookeeper::CreateMode::Persistent.with_acls(zookeeper::Acls::anyone_all());
    let plain = site.plain().await;
    plain.create("/documents/sources/broken", b"{\"kind\": \"source\"}", &open).await.unwrap();
    plain.create("/documents/sources/alias", other_text("second").as_bytes(), &open).await.unwrap();
    let all = until(&mut live, "the broken ones", |all| all.len() == 4).await;
    let code = |name: &str| all[name].value.as_ref().map_err(|e| e.code()).err();
    assert_eq!(code("broken"), Some(Code::DocumentInvalid));
    assert_eq!(code("alias"), Some(Code::NodeInvalid));
    assert_eq!(prefix_of(&all, "second").as_deref(), Some("x"));

    other.delete(Kind::Source, "broken", None).await.unwrap();
    other.delete(Kind::Source, "second", None).await.unwrap();
    let all = until(&mut live, "the deletions", |all| all.len() == 2).await;
    assert_eq!(prefix_of(&all, "shop").as_deref(), Some("two"));
    let again = documents.watch(Kind::Source).await.unwrap();
    assert!(again.same_channel(&live));
}

fn other_text(name: &str) -> String {
    source(name, "x").to_json().expect("valid")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_keeps_its_state_through_an_outage_and_then_catches_up() {
    let site = Site::new();
    let (worker, proxy) = site.connect_through().await;
    let documents = worker.documents();
    let watcher = site.connect().await;
    announce(&worker, &watcher).await;
    let other = watcher.documents();
    other.put(&source("shop", "one"), Expected::New).await.unwrap();
    other.put(&source("gone", "one"), Expected::New).await.unwrap();
    let mut live = documents.watch(Kind::Source).await.unwrap();
    assert_eq!(live.borrow().len(), 2);

    // Cut off for a moment, and for longer than the session lasts.
    for (turn, changed) in ["two", "three"].into_iter().enumerate() {
        proxy.set(Link::Cut);
        eventually("the cut to be noticed", async || worker.is_connected(), |up| !up).await;
        other.put(&source("shop", changed), Expected::Any).await.unwrap();
        if turn == 0 {
            other.delete(Kind::Source, "gone", None).await.unwrap();
        } else {
            expired(&watcher).await;
        }
        assert!(!live.has_changed().unwrap());
        assert!(prefix_of(&live.borrow(), "shop").is_some());
        proxy.set(Link::Up);
        let all = until(&mut live, "the change", |all| prefix_of(all, "shop").as_deref() == Some(changed)).await;
        assert_eq!(all.len(), 1);
        // Live again, not only caught up.
        other.put(&source("shop", "live"), Expected::Any).await.unwrap();
        until(&mut live, "a live change", |all| prefix_of(all, "shop").as_deref() == Some("live")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_an_answer_ends_with_a_code() {
    let site = Site::new();
    let (worker, proxy) = site.connect_impatient(Duration::from_secs(1)).await;
    proxy.set(Link::Silent);
    let error = worker.documents().list(Kind::Source).await.unwrap_err();
    assert_eq!(error.code(), Code::ZooKeeperUnavailable);
    proxy.set(Link::Up);
    let answer = async || worker.documents().list(Kind::Source).await.map(|all| all.len());
    assert_eq!(eventually("an answer again", answer, Result::is_ok).await.unwrap(), 0);
}
