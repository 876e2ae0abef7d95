//! Leases: one holder, takeover within the session's time, and no write by a holder of yesterday.

use std::time::Duration;

use coordination::LeaseState;
use schemas::Code;
use schemas::checkpoint::{Checkpoint, ServerIdentity};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::proxy::Link;
use super::site::{Site, eventually, until};

const PATH: &str = "/sources/shop/leader";
const POSITION: &str = "/sources/shop/position";

fn held_by(holder: &str) -> LeaseState {
    LeaseState::HeldByOther(holder.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_released_lease_goes_to_the_next_at_once() {
    let site = Site::new();
    let (one, two) = (site.connect().await, site.connect().await);
    let shutdown = CancellationToken::new();
    let first = one.acquire(PATH, "w1", &shutdown).await.expect("free");
    first.write_fenced(POSITION, b"1").await.unwrap();
    let second = two.contend(PATH, "w2");
    until(&mut second.state(), "the holder's name", |state| *state == held_by("w1")).await;
    let refusal = second.write_fenced(POSITION, b"2").await.unwrap_err();
    assert_eq!(refusal.code(), Code::LeaseLost);
    let third = two.contend(PATH, "w3");
    until(&mut third.state(), "the holder's name", |state| *state == held_by("w1")).await;

    let plain = site.plain().await;
    assert_eq!(plain.list_children(PATH).await.unwrap().len(), 3);
    first.release().await;
    // At once, although its session lives on.
    assert_eq!(plain.list_children(PATH).await.unwrap().len(), 2);
    until(&mut second.state(), "the lease", |state| *state == LeaseState::Held).await;
    until(&mut third.state(), "the new holder's name", |state| *state == held_by("w2")).await;
    second.write_fenced(POSITION, b"2").await.unwrap();
    drop(second);
    until(&mut third.state(), "the lease after a drop", |state| *state == LeaseState::Held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_lease_ends_with_the_shutdown() {
    let site = Site::new();
    let (one, two) = (site.connect().await, site.connect().await);
    let shutdown = CancellationToken::new();
    let first = one.acquire(PATH, "w1", &shutdown).await.expect("free");
    let token = shutdown.clone();
    let waiting = tokio::spawn(async move { two.acquire(PATH, "w2", &token).await.is_some() });
    let plain = site.plain().await;
    let line = async || plain.list_children(PATH).await.unwrap().len();
    eventually("the second in line", line, |length| *length == 2).await;
    shutdown.cancel();
    assert!(!waiting.await.unwrap());
    assert_eq!(plain.list_children(PATH).await.unwrap().len(), 1);
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_cut_off_longer_than_its_session_is_replaced_and_cannot_write() {
    for link in [Link::Cut, Link::Silent] {
        let site = Site::new();
        let (old, proxy) = site.connect_through().await;
        let new = site.connect().await;
        let shutdown = CancellationToken::new();
        let first = old.acquire(PATH, "w1", &shutdown).await.expect("free");
        first.write_fenced(POSITION, b"old").await.unwrap();
        let mut seen = first.state();
        let second = new.contend(PATH, "w2");
        until(&mut second.state(), "the holder's name", |state| *state == held_by("w1")).await;

        let start = Instant::now();
        proxy.set(link);
        until(&mut seen, "the doubt", |state| *state == LeaseState::Unknown).await;
        until(&mut second.state(), "the takeover", |state| *state == LeaseState::Held).await;
        assert!(start.elapsed() < Duration::from_secs(10), "takeover took {:?}", start.elapsed());
        second.write_fenced(POSITION, b"new").await.unwrap();
        assert_eq!(first.write_fenced(POSITION, b"late").await.unwrap_err().code(), Code::ZooKeeperUnavailable);

        proxy.set(Link::Up);
        until(&mut seen, "the news", |state| *state == held_by("w2")).await;
        assert_eq!(first.write_fenced(POSITION, b"late").await.unwrap_err().code(), Code::LeaseLost);
        assert_eq!(site.plain().await.get_data(POSITION).await.unwrap().0, b"new");

        // It stands in line again: when the other goes, it has the lease as before.
        second.release().await;
        until(&mut seen, "the lease again", |state| *state == LeaseState::Held).await;
        first.write_fenced(POSITION, b"again").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_cut_changes_nothing() {
    let site = Site::new();
    let (worker, proxy) = site.connect_patient().await;
    let lease = worker.acquire(PATH, "w1", &CancellationToken::new()).await.expect("free");
    let plain = site.plain().await;
    let before = plain.list_children(PATH).await.unwrap();
    proxy.set(Link::Cut);
    until(&mut lease.state(), "the doubt", |state| *state == LeaseState::Unknown).await;
    proxy.set(Link::Up);
    until(&mut lease.state(), "the lease", |state| *state == LeaseState::Held).await;
    assert_eq!(plain.list_children(PATH).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_deleted_by_hand_is_lost() {
    let site = Site::new();
    let (one, two) = (site.connect().await, site.connect().await);
    let first = one.acquire(PATH, "w1", &CancellationToken::new()).await.expect("free");
    let second = two.contend(PATH, "w2");
    until(&mut second.state(), "the holder's name", |state| *state == held_by("w1")).await;
    let plain = site.plain().await;
    let mut line = plain.list_children(PATH).await.unwrap();
    line.sort_by_key(|name| name[name.len() - 10..].to_owned());
    plain.delete(&format!("{PATH}/{}", line[0]), None).await.unwrap();
    until(&mut second.state(), "the lease", |state| *state == LeaseState::Held).await;
    until(&mut first.state(), "the news", |state| *state == held_by("w2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_are_mirrored_through_the_lease() {
    let site = Site::new();
    let worker = site.connect().await;
    let lease = worker.acquire(PATH, "w1", &CancellationToken::new()).await.expect("free");
    assert_eq!(worker.read_position("shop").await.unwrap(), None);
    let mut checkpoint = Checkpoint {
        epoch: 1,
        file: "binlog.000007".to_owned(),
        position: 1234,
        ordinal: 99,
        time: 1,
        ..Checkpoint::new(ServerIdentity::mariadb(1), "0-1-42".parse().unwrap())
    };
    for epoch in [1, 2] {
        checkpoint.epoch = epoch;
        worker.write_position(&lease, "shop", &checkpoint).await.unwrap();
        assert_eq!(worker.read_position("shop").await.unwrap().as_ref(), Some(&checkpoint));
    }
    let large = vec![b'x'; coordination::MAX_NODE_BYTES + 1];
    assert_eq!(lease.write_fenced(POSITION, &large).await.unwrap_err().code(), Code::DocumentTooLarge);
    lease.write_fenced(POSITION, &large[1..]).await.unwrap();
    assert_eq!(worker.read_position("shop").await.unwrap_err().code(), Code::NodeInvalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leftover_of_its_own_is_not_taken_for_somebody_else() {
    let site = Site::new();
    let worker = site.connect().await;
    // So that the number 0 is given away.
    worker.acquire(PATH, "w0", &CancellationToken::new()).await.expect("free").release().await;
    let lease = worker.acquire(PATH, "w1", &CancellationToken::new()).await.expect("free");
    let plain = site.plain().await;
    let own = plain.list_children(PATH).await.unwrap().remove(0);
    let leftover = format!("{PATH}/{}0000000000", &own[..own.len() - 10]);
    let mut states = lease.state();
    states.mark_unchanged();
    let ephemeral = zookeeper::CreateMode::Ephemeral.with_acls(zookeeper::Acls::anyone_all());
    plain.create(&leftover, b"w1", &ephemeral).await.unwrap();
    let line = async || plain.list_children(PATH).await.unwrap();
    eventually("the leftover to go", line, |names| *names == [own.clone()]).await;
    assert!(!states.has_changed().unwrap(), "{:?}", *states.borrow());
    lease.write_fenced(POSITION, b"1").await.unwrap();
}
