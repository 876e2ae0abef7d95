//! One batch into several tables of the target: all of it or nothing, and a pause at the same event for all.

use apply::target::mapping::TableMapping;
use apply::target::writer::{BatchOutcome, Destination, Policies, WriteError, write_to_all};
use schemas::Code;
use schemas::decode::DatumKind;

use crate::harness::{Event, Place, Row, Server, Val, batch, column, text, token};

async fn place(server: Server, name: &str) -> (Place, [TableMapping; 2]) {
    let mut place = Place::new(server, name).await;
    place.run("CREATE TABLE a (id int PRIMARY KEY, v varchar(20)); CREATE TABLE b (v varchar(20), id bigint PRIMARY KEY, u varchar(20) AS (v) STORED UNIQUE)").await;
    let writer = [column("id", DatumKind::Int), column("v", DatumKind::Text)];
    let mappings = [place.mapping(&writer, "a").await, place.mapping(&writer, "b").await];
    (place, mappings)
}

fn row(id: i64, v: &str) -> Row {
    vec![Val::Int(id), text(v)]
}

async fn all(place: &mut Place) -> Vec<String> {
    place.rows("SELECT CONCAT('a', id, v) FROM a UNION ALL SELECT CONCAT('b', id, v) FROM b ORDER BY 1").await
}

async fn every_table_gets_the_batch(server: Server) {
    let (mut place, mappings) = place(server, "several").await;
    let to = mappings.each_ref().map(|mapping| Destination { mapping, policies: Policies::default() });
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    let events = [Event::create(0, &row(1, "x")), Event::create(1, &row(2, "y")), Event::delete(2, &row(1, "x"))];
    let outcome = write_to_all(&mut session, &mut lane, &to, &batch(&events), (3, 25)).await.expect("written");
    assert_eq!(outcome, BatchOutcome { events: 3, inserted: 2, ..BatchOutcome::default() });
    assert_eq!(all(&mut place).await, ["a2y", "b2y"]);
    assert_eq!((lane.next_offset(), lane.ordinal()), (3, 25));
    place.drop().await;
}

/// The second table refuses an event: the first does not keep it either, and both keep what came before.
async fn a_conflict_at_one_pauses_all(server: Server) {
    let (mut place, mappings) = place(server, "several_pause").await;
    let to = mappings.each_ref().map(|mapping| Destination { mapping, policies: Policies::default() });
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    place.run("INSERT INTO b (v, id) VALUES ('taken', 9)").await;
    let events =
        [Event::create(0, &row(1, "x")), Event::create(1, &row(2, "taken")), Event::create(2, &row(3, "behind"))];
    let paused = write_to_all(&mut session, &mut lane, &to, &batch(&events), (3, 25)).await;
    match paused {
        Err(WriteError::Paused { at_offset, error, outcome, .. }) => {
            assert_eq!((at_offset, error.code()), (1, Code::RowExists), "{error}");
            assert!(error.message().contains(".b id=2"), "{error}");
            assert_eq!((outcome.events, outcome.inserted), (1, 2));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(all(&mut place).await, ["a1x", "b1x", "b9taken"]);
    place.run("DELETE FROM b WHERE id = 9").await;
    let rest = batch(&events[1..]);
    write_to_all(&mut session, &mut lane, &to, &rest, (3, 25)).await.expect("written");
    assert_eq!(all(&mut place).await, ["a1x", "a2taken", "a3behind", "b1x", "b2taken", "b3behind"]);
    place.drop().await;
}

crate::on_both_servers! {
    every_table_gets_the_batch
    a_conflict_at_one_pauses_all
}
