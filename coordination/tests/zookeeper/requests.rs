//! Requests: taken by one, answered once, followed live; a taker that died is replaced.

use std::time::Duration;

use coordination::{Coordination, WorkerInfo};
use schemas::moment::Moment;
use schemas::request::{Outcome, OutcomeState, PipelineAction, PipelineRequest, SeekTo, SourceAction, Ticket};
use schemas::{Code, Error};

use super::proxy::Link;
use super::site::{Site, eventually, until};

type Asked = Option<Ticket<PipelineAction>>;

fn request(id: &str) -> PipelineRequest {
    let action = PipelineAction::Seek { table: None, partition: None, to: SeekTo::Earliest };
    PipelineRequest { id: id.to_owned(), by: "ops".to_owned(), time: Moment::from_ms(1_000), action }
}

fn state(asked: &Asked) -> Option<OutcomeState> {
    asked.as_ref()?.outcome.as_ref().map(|outcome| outcome.state)
}

async fn announce(worker: &Coordination, id: &str) {
    let info = WorkerInfo {
        id: id.to_owned(),
        roles: vec!["apply".to_owned()],
        host: String::new(),
        version: String::new(),
        status_address: None,
    };
    worker.register_worker(&info).expect("an id");
    let known = async || worker.workers().await.expect("ZooKeeper answers").iter().any(|w| w.id == id);
    eventually("the worker to be announced", known, |known| *known).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_taken_by_one_worker_and_answered_once() {
    let site = Site::new();
    let (asker, workers) = (site.connect().await, [site.connect().await, site.connect().await]);
    for (worker, id) in workers.iter().zip(["w0", "w1"]) {
        announce(worker, id).await;
    }
    let requests = asker.requests();
    assert_eq!(requests.read::<PipelineAction>("users").await.unwrap(), None);
    assert_eq!(requests.take::<PipelineAction>("users", "w0").await.unwrap(), None);
    let mut live = requests.watch::<PipelineAction>("users").await.unwrap();
    requests.submit("users", &request("r1")).await.unwrap();
    until(&mut live, "the request", |asked: &Asked| asked.as_ref().is_some_and(Ticket::is_open)).await;
    let open = requests.submit("users", &request("r2")).await.unwrap_err();
    assert_eq!(open.code(), Code::RequestOpen);
    assert!(open.message().contains("r1 of ops"), "{open}");
    // Another pipeline, and a source of the same name, are not concerned.
    requests.submit("orders", &request("r9")).await.unwrap();
    assert_eq!(requests.read::<SourceAction>("users").await.unwrap(), None);

    let (zero, one) = (workers[0].requests(), workers[1].requests());
    let (a, b) = tokio::join!(zero.take::<PipelineAction>("users", "w0"), one.take::<PipelineAction>("users", "w1"));
    let mut taken: Vec<_> = [a.unwrap(), b.unwrap()].into_iter().flatten().collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let taken = taken.remove(0);
    until(&mut live, "the taking", |asked| state(asked) == Some(OutcomeState::Taken)).await;
    assert_eq!(requests.submit("users", &request("r2")).await.unwrap_err().code(), Code::RequestOpen);
    let kept = requests.withdraw::<PipelineAction>("users", "r1", "ops", &open).await.unwrap();
    assert!(kept.is_open(), "{kept:?}");

    let outcome = Outcome::done("?", "moved", vec!["shop.t/0: 5 to 0".into()]);
    zero.answer(&taken, outcome.clone()).await.unwrap();
    zero.answer(&taken, outcome).await.unwrap();
    let other = Outcome::done("?", "something else", Vec::new());
    assert_eq!(zero.answer(&taken, other).await.unwrap_err().code(), Code::VersionConflict);
    let asked = until(&mut live, "the answer", |asked| state(asked) == Some(OutcomeState::Done)).await.unwrap();
    let outcome = asked.outcome.unwrap();
    assert_eq!((outcome.message.as_str(), outcome.details.len()), ("moved", 1));
    assert!(outcome.by.starts_with('w'), "{}", outcome.by);
    requests.submit("users", &request("r2")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taker_that_died_is_replaced_and_cannot_answer_any_more() {
    let site = Site::new();
    let (dying, second) = (site.connect().await, site.connect().await);
    announce(&dying, "w0").await;
    announce(&second, "w1").await;
    let (first, requests) = (dying.requests(), second.requests());
    requests.submit("users", &request("r1")).await.unwrap();
    let taken = first.take::<PipelineAction>("users", "w0").await.unwrap().expect("open");
    assert_eq!(requests.take::<PipelineAction>("users", "w1").await.unwrap(), None);
    // Started again under the same id: it takes what it had taken.
    assert!(first.take::<PipelineAction>("users", "w0").await.unwrap().is_some());
    dying.close().await;
    let again = requests.take::<PipelineAction>("users", "w1").await.unwrap().expect("its taker is gone");
    let done = Outcome::done("?", "done", Vec::new());
    assert_eq!(requests.answer(&taken, done.clone()).await.unwrap_err().code(), Code::VersionConflict);
    requests.answer(&again, done).await.unwrap();
    assert_eq!(requests.take::<PipelineAction>("users", "w1").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_takes_can_be_withdrawn() {
    let requests = Site::new().connect().await.requests();
    let why = Error::new(Code::NotFound, "no worker runs");
    let unknown = requests.withdraw::<PipelineAction>("users", "r1", "ops", &why).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    requests.submit("users", &request("r1")).await.unwrap();
    let ticket = requests.withdraw::<PipelineAction>("users", "r1", "ops", &why).await.unwrap();
    assert_eq!(ticket.outcome.unwrap().code.as_deref(), Some("OT1006"));
    assert_eq!(requests.take::<PipelineAction>("users", "w1").await.unwrap(), None);
    requests.submit("users", &request("r2")).await.unwrap();
    let long = request(&"x".repeat(65));
    assert_eq!(requests.submit("fresh", &long).await.unwrap_err().code(), Code::DocumentInvalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_got_lost_change_nothing_and_a_watch_catches_up_after_a_cut() {
    let site = Site::new();
    let (worker, proxy) = site.connect_through().await;
    let other = site.connect().await.requests();
    let requests = worker.requests();
    let mut live = requests.watch::<PipelineAction>("users").await.unwrap();
    requests.submit("users", &request("r1")).await.unwrap();
    let taken = requests.take::<PipelineAction>("users", "w1").await.unwrap().expect("open");
    proxy.set(Link::Deaf);
    let answering = requests.clone();
    let task = tokio::spawn(async move { answering.answer(&taken, Outcome::done("w1", "done", Vec::new())).await });
    let stored = async || state(&other.read::<PipelineAction>("users").await.unwrap());
    eventually("the answer to reach the server", stored, |state| *state == Some(OutcomeState::Done)).await;
    proxy.lost_an_answer().await;
    proxy.set(Link::Cut);
    proxy.set(Link::Up);
    task.await.unwrap().unwrap();
    until(&mut live, "the answer", |asked| state(asked) == Some(OutcomeState::Done)).await;

    proxy.set(Link::Cut);
    other.submit("users", &request("r2")).await.unwrap();
    proxy.set(Link::Up);
    until(&mut live, "the next request", |asked: &Asked| asked.as_ref().is_some_and(Ticket::is_open)).await;
    assert!(tokio::time::timeout(Duration::from_millis(1), live.changed()).await.is_err());
}
