//! Rows that are not as the events expect them: policies, pauses, the position of a pause.

use apply::target::writer::{BatchOutcome, Policies, WriteError};
use schemas::Code;
use schemas::decode::{DatumKind, WriterColumn};
use schemas::documents::{ExistingRow, MissingRow};

use crate::harness::{Event, Place, Row, Server, Val, column, text, token, write};

fn columns() -> Vec<WriterColumn> {
    vec![column("id", DatumKind::Int), column("u", DatumKind::Int), column("v", DatumKind::Text)]
}

fn row(id: i64, u: i64, v: &str) -> Row {
    vec![Val::Int(id), Val::Int(u), text(v)]
}

async fn place(server: Server, name: &str) -> Place {
    let mut place = Place::new(server, name).await;
    place.run("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE, v varchar(20))").await;
    place.run("INSERT INTO t VALUES (1, 10, 'one'), (2, 20, 'two')").await;
    place
}

async fn progress(place: &mut Place) -> String {
    place.rows("SELECT next_offset, ordinal FROM progress").await.join(",")
}

/// Applies events of which the one at `offset` conflicts; everything before it must be there, and nothing behind it.
async fn expect_pause(server: Server, name: &str, policies: Policies, events: &[Event], offset: i64, code: Code) {
    let mut place = place(server, name).await;
    let mapping = place.mapping(&columns(), "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    match write(&mut session, &mut lane, &mapping, policies, events).await {
        Err(WriteError::Paused { at_offset, error, outcome, .. }) => {
            assert_eq!((at_offset, error.code()), (offset, code), "{error}");
            let mut before = events.iter().filter(|e| e.offset < offset);
            assert_eq!(outcome.events, before.clone().count() as u64);
            let ordinal = before.next_back().map_or(-1, Event::ordinal);
            assert_eq!(progress(&mut place).await, format!("{offset}|{ordinal}"));
            assert_eq!((lane.next_offset(), lane.ordinal()), (offset, ordinal));
            let message = error.to_string();
            assert!(message.contains("id=") && message.contains(&format!("offset {offset}")), "{message}");
            assert!(!message.contains("secret") && !message.contains("777"), "{message}");
        }
        other => panic!("no pause: {other:?}"),
    }
    let applied = place.rows("SELECT COUNT(*) FROM t WHERE v = 'before'").await;
    assert_eq!(applied, [events.iter().filter(|e| e.offset < offset).count().to_string()]);
    assert_eq!(place.rows("SELECT COUNT(*) FROM t WHERE v = 'behind'").await, ["0"]);
    // Paused at its first event, the same batch pauses again and moves nothing.
    let rest: Vec<Event> = events.iter().filter(|e| e.offset >= offset).cloned().collect();
    let again = write(&mut session, &mut lane, &mapping, policies, &rest).await;
    assert!(matches!(again, Err(WriteError::Paused { at_offset, .. }) if at_offset == offset), "{again:?}");
    place.drop().await;
}

async fn an_existing_row_pauses_right_before_it(server: Server) {
    let events = [
        Event::create(3, &row(8, 80, "before")),
        Event::create(5, &row(1, 777, "secret")),
        Event::create(6, &row(9, 90, "behind")),
    ];
    expect_pause(server, "exists", Policies::default(), &events, 5, Code::RowExists).await;
}

async fn a_missing_row_pauses_right_before_it(server: Server) {
    let update = [
        Event::create(3, &row(8, 80, "before")),
        Event::update(5, &row(7, 70, "x"), &row(7, 777, "secret")),
        Event::create(6, &row(9, 90, "behind")),
    ];
    expect_pause(server, "missing_update", Policies::default(), &update, 5, Code::RowMissing).await;
    let delete = [Event::delete(0, &row(7, 777, "secret")), Event::create(6, &row(9, 90, "behind"))];
    expect_pause(server, "missing_delete", Policies::default(), &delete, 0, Code::RowMissing).await;
}

/// A row that stands in the way by another unique index is nothing that a policy for the key could settle.
async fn another_unique_value_pauses_under_every_policy(server: Server) {
    for (i, existing_row) in [ExistingRow::Error, ExistingRow::Overwrite, ExistingRow::Ignore].into_iter().enumerate() {
        let policies = Policies { missing_row: MissingRow::Overwrite, existing_row, ..Policies::default() };
        let events = [Event::create(0, &row(8, 80, "before")), Event::create(1, &row(9, 20, "secret"))];
        expect_pause(server, &format!("unique_insert{i}"), policies, &events, 1, Code::RowExists).await;
        let events =
            [Event::create(0, &row(8, 80, "before")), Event::update(1, &row(1, 10, "one"), &row(1, 20, "secret"))];
        expect_pause(server, &format!("unique_update{i}"), policies, &events, 1, Code::RowExists).await;
    }
}

/// Contradictions that the net effect alone would hide.
async fn contradictions_within_a_batch_pause(server: Server) {
    let twice = [
        Event::create(0, &row(8, 80, "before")),
        Event::create(1, &row(8, 81, "secret")),
        Event::delete(2, &row(8, 81, "")),
    ];
    expect_pause(server, "contradiction", Policies::default(), &twice, 1, Code::RowExists).await;
    // Came and went, but was there all along.
    let hidden = [Event::create(0, &row(1, 777, "secret")), Event::delete(1, &row(1, 777, "secret"))];
    expect_pause(server, "hidden", Policies::default(), &hidden, 0, Code::RowExists).await;
}

async fn outcome_of(server: Server, name: &str, policies: Policies, events: &[Event]) -> (BatchOutcome, Vec<String>) {
    let mut place = place(server, name).await;
    let mapping = place.mapping(&columns(), "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    let outcome = write(&mut session, &mut lane, &mapping, policies, events).await.expect("as the test has it");
    let rows = place.rows("SELECT id, u, v FROM t ORDER BY id").await;
    let last = events.last().expect("as the test has it");
    assert_eq!(progress(&mut place).await, format!("{}|{}", last.offset + 1, last.ordinal()));
    place.drop().await;
    (outcome, rows)
}

fn odd_events() -> [Event; 4] {
    [
        Event::create(0, &row(1, 11, "new")),
        Event::update(1, &row(7, 70, "x"), &row(7, 71, "seven")),
        Event::delete(2, &row(6, 60, "x")),
        Event::delete(3, &row(2, 20, "two")),
    ]
}

async fn overwrite_makes_the_event_win(server: Server) {
    let policies =
        Policies { missing_row: MissingRow::Overwrite, existing_row: ExistingRow::Overwrite, ..Policies::default() };
    let (outcome, rows) = outcome_of(server, "overwrite", policies, &odd_events()).await;
    assert_eq!(rows, ["1|11|new", "7|71|seven"]);
    let expected = BatchOutcome {
        events: 4,
        inserted: 1,
        updated: 1,
        deleted: 1,
        missing: 2,
        existing: 1,
        serial: true,
        ..BatchOutcome::default()
    };
    assert_eq!(outcome, expected);
}

async fn ignore_skips_and_counts(server: Server) {
    let policies =
        Policies { missing_row: MissingRow::Ignore, existing_row: ExistingRow::Ignore, ..Policies::default() };
    let (outcome, rows) = outcome_of(server, "ignore", policies, &odd_events()).await;
    assert_eq!(rows, ["1|10|one"]);
    let expected = BatchOutcome {
        events: 4,
        inserted: 0,
        updated: 0,
        deleted: 1,
        missing: 2,
        existing: 1,
        serial: true,
        ..BatchOutcome::default()
    };
    assert_eq!(outcome, expected);
}

/// An event with the bytes of one key must not touch a row whose key is only equal by collation.
async fn keys_are_compared_bytewise(server: Server) {
    let mut place = Place::new(server, "bytewise").await;
    place.run("CREATE TABLE t (k varchar(10) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(10))").await;
    place.run("INSERT INTO t VALUES ('A', 'kept'), ('b ', 'kept')").await;
    let mapping = place.mapping(&[column("k", DatumKind::Text), column("v", DatumKind::Text)], "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    let policies =
        Policies { missing_row: MissingRow::Ignore, existing_row: ExistingRow::Error, ..Policies::default() };
    let row = |k: &str, v: &str| vec![text(k), text(v)];
    let events = [
        Event::delete(0, &row("a", "x")),
        Event::update(1, &row("b", "x"), &row("b", "changed")),
        Event::delete(2, &row("A ", "x")),
    ];
    let outcome = write(&mut session, &mut lane, &mapping, policies, &events).await.expect("as the test has it");
    assert_eq!((outcome.missing, outcome.deleted, outcome.updated), (3, 0, 0));
    assert_eq!(place.rows("SELECT k, v FROM t ORDER BY k").await, ["A|kept", "b |kept"]);
    // A key that changes only its case arrives as delete and insert, and moves.
    let moved = [Event::delete(3, &row("A", "kept")), Event::create(4, &row("a", "moved"))];
    let outcome = write(&mut session, &mut lane, &mapping, policies, &moved).await.expect("as the test has it");
    assert!(!outcome.serial);
    assert_eq!(place.rows("SELECT k, v FROM t ORDER BY k").await, ["a|moved", "b |kept"]);
    place.drop().await;
}

crate::on_both_servers! {
    an_existing_row_pauses_right_before_it
    a_missing_row_pauses_right_before_it
    another_unique_value_pauses_under_every_policy
    contradictions_within_a_batch_pause
    overwrite_makes_the_event_win
    ignore_skips_and_counts
    keys_are_compared_bytewise
}
