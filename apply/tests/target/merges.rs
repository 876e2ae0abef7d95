//! Several source tables in one target table: each changes its own rows and no other, whatever their keys and policies.

use apply::target::connection::Session;
use apply::target::mapping::{Rules, TableMapping};
use apply::target::progress::{Lane, LaneKey, Start};
use apply::target::writer::{BatchOutcome, Policies, WriteError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::Code;
use schemas::decode::{DatumKind, WriterColumn};
use schemas::documents::{ExistingRow, MissingRow};
use schemas::encode::Op;

use crate::harness::{Event, Place, Row, Server, Val, column, text, token, write};

/// A source table's lane into the table `t`.
struct Shard {
    session: Session,
    lane: Lane,
    mapping: TableMapping,
    offset: i64,
}

fn writer() -> Vec<WriterColumn> {
    vec![column("id", DatumKind::Int), column("v", DatumKind::Text)]
}

fn rules(set: &[(&str, &str)]) -> Rules {
    let constants = set.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
    Rules { constants, merges: true, ..Rules::default() }
}

async fn claim(place: &Place, session: &mut Session, name: &str) -> Lane {
    let key = LaneKey { pipeline: name.to_owned(), topic: format!("{name}.a.t"), partition: 0 };
    let start = Start {
        next_offset: 0,
        ordinal: -1,
        topic_id: "topic".into(),
        gtid: None,
        targets: Vec::new(),
        anew: false,
        generation: 0,
    };
    Lane::claim(session, &place.schema, key, &token(1), &start).await.expect("a claim").0
}

impl Shard {
    async fn new(place: &Place, name: &str, rules: Rules) -> Self {
        let mut session = place.session().await;
        let mapping = TableMapping::resolve(&mut session, &writer(), rules, &place.table("t")).await;
        let mapping = mapping.unwrap_or_else(|failure| panic!("{}", failure.error));
        let lane = claim(place, &mut session, name).await;
        Self { session, lane, mapping, offset: 0 }
    }

    fn event(&mut self, op: Op, before: &[Val], after: &[Val]) -> Event {
        let id = if before.is_empty() { &after[0] } else { &before[0] };
        self.offset += 1;
        Event::new(self.offset, format!("{id:?}").as_bytes(), op, before, after)
    }

    async fn write(&mut self, policies: Policies, events: &[Event]) -> Result<BatchOutcome, WriteError> {
        write(&mut self.session, &mut self.lane, &self.mapping, policies, events).await
    }
}

fn row(id: i64, v: &str) -> Row {
    vec![Val::Int(id), text(v)]
}

/// What a source sets: columns and their values.
type Sets = &'static [(&'static str, &'static str)];

/// The ways in which tables meet: the structure of the target, and what each of two sources sets.
const MEETINGS: &[(&str, [Sets; 2])] = &[
    (
        "shard varchar(9) NOT NULL, id int, v varchar(20), PRIMARY KEY (shard, id)",
        [&[("shard", "eu")], &[("shard", "us")]],
    ),
    ("id int, v varchar(20), no tinyint NOT NULL, PRIMARY KEY (id, no)", [&[("no", "1")], &[("no", "2")]]),
    (
        "shard enum('eu','us') NOT NULL, v varchar(20), id int, place varbinary(9), UNIQUE (id, shard)",
        [&[("shard", "eu"), ("place", "x")], &[("shard", "us"), ("place", "y")]],
    ),
    ("id int, v varchar(20), shard varchar(9) COLLATE utf8mb4_general_ci", [&[("shard", "eu")], &[("shard", "us")]]),
    ("id int, v varchar(20)", [&[], &[]]),
];

/// Two sources change their tables at random, keys and values equal all the time; in the end each row is there as many times as
/// they have it.
async fn the_target_is_the_union(server: Server) {
    let mut place = Place::new(server, "union").await;
    let cases = if std::env::var_os("OTTER_TEST_LONG").is_some() { 100 } else { 1 };
    let given = std::env::var("OTTER_TEST_SEED").ok().map(|seed| seed.parse().expect("OTTER_TEST_SEED is a number"));
    for _ in 0..cases {
        let seed: u64 = given.unwrap_or_else(rand::random);
        println!("merges {server:?}: OTTER_TEST_SEED={seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        for (ddl, sets) in MEETINGS {
            union(&mut place, &mut rng, ddl, sets).await;
        }
    }
    place.drop().await;
}

async fn union(place: &mut Place, rng: &mut StdRng, ddl: &str, sets: &[&[(&str, &str)]; 2]) {
    place.run(&format!("DELETE FROM progress; DROP TABLE IF EXISTS t; CREATE TABLE t ({ddl})")).await;
    let mut shards = [Shard::new(place, "one", rules(sets[0])).await, Shard::new(place, "two", rules(sets[1])).await];
    let mut models: [Vec<Row>; 2] = Default::default();
    for _ in 0..20 {
        let which = rng.random_range(0..2);
        let (shard, model) = (&mut shards[which], &mut models[which]);
        let mut events = Vec::new();
        for _ in 0..rng.random_range(1..20) {
            let fresh = row(rng.random_range(0..8), ["a", "A", "b "][rng.random_range(0..3)]);
            match model.iter().position(|row| row[0] == fresh[0]) {
                None => {
                    events.push(shard.event(Op::Create, &[], &fresh));
                    model.push(fresh);
                }
                Some(at) if rng.random_bool(0.5) => {
                    let before = std::mem::replace(&mut model[at], fresh.clone());
                    events.push(shard.event(Op::Update, &before, &fresh));
                }
                Some(at) => {
                    let before = model.swap_remove(at);
                    events.push(shard.event(Op::Delete, &before, &[]));
                }
            }
        }
        let outcome = shard.write(Policies::default(), &events).await.unwrap_or_else(|e| panic!("{ddl}: {e:?}"));
        assert!(!outcome.serial, "{ddl}");
    }
    let shown = |row: &Row| match row.as_slice() {
        [Val::Int(id), Val::Text(v)] => format!("{id}|{v}"),
        other => panic!("{other:?}"),
    };
    let mut expected: Vec<String> = models.iter().flatten().map(shown).collect();
    expected.sort();
    let mut found = place.rows("SELECT id, v FROM t").await;
    found.sort();
    assert_eq!(found, expected, "{ddl}");
    for (set, model) in sets.iter().zip(&models).filter(|(set, _)| !set.is_empty()) {
        let own: Vec<String> = set.iter().map(|(name, text)| format!("{name} = '{text}'")).collect();
        let count = place.rows(&format!("SELECT COUNT(*) FROM t WHERE {}", own.join(" AND "))).await;
        assert_eq!(count, [model.len().to_string()], "{ddl}");
    }
}

/// An equal key of another source follows the policy, and without `overwrite` that source's row stays as it is, also when the
/// key's later changes come.
async fn equal_keys_follow_the_policy(server: Server) {
    let mut place = Place::new(server, "equal_keys").await;
    for (ddl, sets) in [
        ("id int PRIMARY KEY, v varchar(20)", [&[][..], &[]]),
        ("id int PRIMARY KEY, v varchar(20), shard varchar(9)", [&[("shard", "eu")][..], &[("shard", "us")]]),
    ] {
        for existing_row in [ExistingRow::Error, ExistingRow::Ignore, ExistingRow::Overwrite] {
            let policies = Policies { existing_row, missing_row: MissingRow::Ignore, ..Policies::default() };
            place.run(&format!("DELETE FROM progress; DROP TABLE IF EXISTS t; CREATE TABLE t ({ddl})")).await;
            let mut one = Shard::new(&place, "one", rules(sets[0])).await;
            let mut two = Shard::new(&place, "two", rules(sets[1])).await;
            let insert = one.event(Op::Create, &[], &row(1, "of one"));
            one.write(policies, &[insert]).await.expect("written");
            let events = [
                two.event(Op::Create, &[], &row(1, "of two")),
                two.event(Op::Update, &row(1, "of two"), &row(1, "still of two")),
                two.event(Op::Delete, &row(1, "still of two"), &[]),
            ];
            // Together they would leave nothing behind; the conflict shows all the same.
            let written = two.write(policies, &events).await;
            let rows = place.rows("SELECT v FROM t").await;
            match (existing_row, written) {
                (ExistingRow::Error, Err(WriteError::Paused { error, .. })) => {
                    assert_eq!((error.code(), rows), (Code::RowExists, vec!["of one".to_owned()]));
                    assert!(error.message().contains("several tables are merged in this one"), "{error}");
                }
                (ExistingRow::Ignore, Ok(outcome)) => {
                    assert_eq!((outcome.existing, outcome.missing, rows), (1, 2, vec!["of one".to_owned()]), "{ddl}");
                }
                (ExistingRow::Overwrite, Ok(outcome)) => {
                    assert_eq!((outcome.existing, outcome.updated, outcome.deleted, rows.len()), (1, 2, 1, 0), "{ddl}");
                }
                (_, other) => panic!("{existing_row:?}: {other:?}"),
            }
            // One by one, too: nothing of the other's row is changed or deleted.
            if existing_row == ExistingRow::Ignore {
                let events = [
                    two.event(Op::Update, &row(1, "of two"), &row(1, "x")),
                    two.event(Op::Delete, &row(1, "x"), &[]),
                    two.event(Op::Update, &row(1, "OF ONE"), &row(1, "x")),
                    two.event(Op::Delete, &row(1, "of one "), &[]),
                ];
                for event in &events {
                    let outcome = two.write(policies, std::slice::from_ref(event)).await.expect("written");
                    assert_eq!((outcome.missing, outcome.updated, outcome.deleted), (1, 0, 0), "{ddl} {event:?}");
                }
                assert_eq!(place.rows("SELECT v FROM t").await, ["of one"]);
            }
        }
    }
    place.drop().await;
}

/// Rows are written twice only where no unique index can hold another table's.
async fn replays_touch_own_rows_or_are_refused(server: Server) {
    let mut place = Place::new(server, "merge_replay").await;
    for (ddl, set, replays) in [
        ("shard varchar(9) NOT NULL, id int, v varchar(20), PRIMARY KEY (shard, id)", true, true),
        ("shard varchar(9) NOT NULL, id int, v varchar(20), PRIMARY KEY (shard, id), UNIQUE (v)", true, false),
        ("shard varchar(9), id int PRIMARY KEY, v varchar(20)", true, false),
        ("shard varchar(9), id int PRIMARY KEY, v varchar(20)", false, false),
        ("id int, v varchar(20)", false, false),
    ] {
        place.run(&format!("DELETE FROM progress; DROP TABLE IF EXISTS t; CREATE TABLE t ({ddl})")).await;
        let set: &[(&str, &str)] = if set { &[("shard", "eu")] } else { &[] };
        let mut one = Shard::new(&place, "one", rules(set)).await;
        let events = [one.event(Op::Create, &[], &row(1, "a")), one.event(Op::Update, &row(1, "a"), &row(1, "b"))];
        one.write(Policies::default(), &events).await.expect("written");
        if replays {
            place.run("INSERT INTO t VALUES ('us', 1, 'other')").await;
        }
        place.run("UPDATE progress SET next_offset = 0, ordinal = -1, replay_until = 3").await;
        one.lane = claim(&place, &mut one.session, "one").await;
        match one.write(Policies::default(), &events).await {
            Ok(_) if replays => {
                assert_eq!(place.rows("SELECT shard, v FROM t ORDER BY shard").await, ["eu|b", "us|other"]);
            }
            Err(WriteError::Refused(error)) if !replays => assert_eq!(error.code(), Code::ReplayRefused, "{error}"),
            other => panic!("{ddl}: {other:?}"),
        }
    }
    place.drop().await;
}

/// What the columns that are set must be is said before any row is written.
async fn constants_must_fit(server: Server) {
    let mut place = Place::new(server, "constants").await;
    place
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(3), e enum('eu'), g int AS (id) STORED, n tinyint unsigned)",
        )
        .await;
    let mut session = place.session().await;
    for (set, part) in [
        (("nowhere", "x"), "has no column `nowhere`, which the mapping sets"),
        (("V", "x"), "a column of the source maps to it; exclude that one"),
        (("e", "us"), "lacks labels"),
        (("g", "1"), "it is generated"),
        (("n", "256"), "is no number that"),
    ] {
        let made = TableMapping::resolve(&mut session, &writer(), rules(&[set]), &place.table("t")).await;
        let message = made.map(drop).expect_err("refused").error.to_string();
        assert!(message.starts_with("OT5003") && message.contains(part), "{message}");
    }
    place.drop().await;
}

crate::on_both_servers! {
    the_target_is_the_union
    equal_keys_follow_the_policy
    replays_touch_own_rows_or_are_refused
    constants_must_fit
}
