//! Emptying a lane's tables: in chunks, each only while the lane is this worker's, and again from where another stopped.

use std::collections::BTreeMap;
use std::future::Future as _;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use apply::target::failure::Fault;
use apply::target::truncate::empty;
use apply::target::writer::WriteError;
use schemas::Code;

use crate::harness::{Place, Server, token};

/// More than a few chunks.
const ROWS: usize = 22_000;
/// Where the lane stands behind the barrier.
const TO: (i64, i64) = (1, 777);

async fn place(server: Server, name: &str) -> Place {
    let mut place = Place::new(server, name).await;
    place.run("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v varchar(9))").await;
    let values = vec!["('x')"; 1000].join(",");
    for _ in 0..ROWS / 1000 {
        place.run(&format!("INSERT INTO t (v) VALUES {values}")).await;
    }
    place
}

async fn count(place: &mut Place) -> usize {
    place.rows("SELECT COUNT(*) FROM t").await.concat().parse().expect("a number")
}

async fn progress(place: &mut Place) -> String {
    place.rows("SELECT next_offset, ordinal FROM progress").await.join(",")
}

async fn tables_are_emptied_and_the_lane_moves(server: Server) {
    let mut place = place(server, "truncate").await;
    place.run("CREATE TABLE u LIKE t").await;
    place.run("INSERT INTO u (v) VALUES ('y'), ('y')").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let tables = [place.table("t"), place.table("u")];
    let gone = empty(&mut session, &mut lane, (&tables, &BTreeMap::new()), TO).await.expect("emptied");
    assert_eq!(gone, ROWS as u64 + 2);
    assert_eq!((count(&mut place).await, place.rows("SELECT * FROM u").await), (0, Vec::new()));
    assert_eq!((lane.next_offset(), lane.ordinal()), TO);
    assert_eq!(progress(&mut place).await, "1|777");
    // Empty already: only the lane moves.
    let gone = empty(&mut session, &mut lane, (&tables, &BTreeMap::new()), (2, 778)).await.expect("emptied");
    assert_eq!((gone, progress(&mut place).await.as_str()), (0, "2|778"));
    place.drop().await;
}

async fn nothing_is_deleted_by_who_lost_the_lane(server: Server) {
    let mut place = place(server, "truncate_lost").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let mut other = place.session().await;
    place.claim(&mut other, &token(2)).await.expect("a claim");
    let tables = [place.table("t")];
    let lost = empty(&mut session, &mut lane, (&tables, &BTreeMap::new()), TO).await;
    assert!(matches!(&lost, Err(WriteError::Taken(error)) if error.code() == Code::LaneTaken), "{lost:?}");
    assert_eq!((count(&mut place).await, progress(&mut place).await.as_str()), (ROWS, "0|-1"));
    assert_eq!(lane.next_offset(), 0);
    place.drop().await;
}

/// A worker that slept between two chunks while another took the lane deletes nothing more.
async fn a_takeover_between_two_chunks_ends_it(server: Server) {
    let mut place = place(server, "truncate_slept").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let tables = [place.table("t")];
    let nothing = BTreeMap::new();
    let mut sleeper = pin!(empty(&mut session, &mut lane, (&tables, &nothing), TO));
    let mut other = place.session().await;
    let mut before = ROWS;
    let left = loop {
        // Awake for one answer of the server only.
        let woken = std::future::poll_fn(|context| Poll::Ready(sleeper.as_mut().poll(context))).await;
        assert!(woken.is_pending(), "it came to its end: {woken:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let left = count(&mut place).await;
        if left == before {
            continue;
        }
        // A chunk has just been committed, so no lock is held.
        before = left;
        match place.claim(&mut other, &token(2)).await {
            Ok(_) => break left,
            Err(failure) => assert_eq!(failure.fault, Fault::Busy, "{}", failure.error),
        }
    };
    assert!(left > 0);
    let lost = sleeper.await;
    assert!(matches!(lost, Err(WriteError::Taken(_))), "{lost:?}");
    assert_eq!((count(&mut place).await, progress(&mut place).await.as_str()), (left, "0|-1"));
    place.drop().await;
}

/// Whoever dies on the way, whenever that is, the next goes on, and the lane moves once, with the last row.
async fn a_restart_goes_on(server: Server) {
    let mut place = place(server, "truncate_restart").await;
    let tables = [place.table("t")];
    let (mut owner, mut before) = (0, ROWS);
    loop {
        owner += 1;
        let mut session = place.session().await;
        let mut lane = loop {
            match place.claim(&mut session, &token(owner)).await {
                Ok((lane, _)) => break lane,
                Err(failure) => assert_eq!(failure.fault, Fault::Busy, "{}", failure.error),
            }
        };
        let nothing = BTreeMap::new();
        let done = {
            let future = empty(&mut session, &mut lane, (&tables, &nothing), TO);
            tokio::time::timeout(Duration::from_millis(u64::from(owner) * 4), future).await
        };
        let left = count(&mut place).await;
        assert!(left <= before, "{left} of {before}");
        before = left;
        match done {
            Ok(gone) => {
                gone.expect("emptied");
                break;
            }
            Err(_) => drop(session),
        }
        let at = progress(&mut place).await;
        assert!(at == "0|-1" || (at == "1|777" && left == 0), "{at}, {left} rows are left");
        if at == "1|777" {
            break;
        }
    }
    assert_eq!((count(&mut place).await, progress(&mut place).await.as_str()), (0, "1|777"));
    place.drop().await;
}

/// Where tables merge only the rows of the mapping's constants go, byte by byte.
async fn only_rows_of_the_constants_go(server: Server) {
    let mut place = Place::new(server, "truncate_own").await;
    place
        .run("CREATE TABLE t (shard varchar(9) COLLATE utf8mb4_general_ci, n int, id int, UNIQUE (id, n)); INSERT INTO t VALUES ('eu',1,1), ('eu',1,2), ('EU',1,3), ('eu ',1,4), ('eu',2,5), (NULL,1,6), ('us',1,7)")
        .await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
    let tables = [place.table("t")];
    let constants = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
        list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let own = constants(&[("Shard", "eu"), ("n", "1")]);
    let gone = empty(&mut session, &mut lane, (&tables, &own), TO).await.expect("emptied");
    assert_eq!((gone, place.rows("SELECT id FROM t ORDER BY id").await.concat().as_str()), (2, "34567"));
    for wrong in [constants(&[("n", "one")]), constants(&[("nowhere", "x")])] {
        let refused = empty(&mut session, &mut lane, (&tables, &wrong), (2, 778)).await;
        assert!(matches!(&refused, Err(WriteError::Refused(e)) if e.code() == Code::TargetTable), "{refused:?}");
    }
    assert_eq!(progress(&mut place).await, "1|777");
    place.drop().await;
}

crate::on_both_servers! {
    tables_are_emptied_and_the_lane_moves
    nothing_is_deleted_by_who_lost_the_lane
    a_takeover_between_two_chunks_ends_it
    a_restart_goes_on
    only_rows_of_the_constants_go
}
