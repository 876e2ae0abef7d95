//! Any sequence of changes that a source can make, cut into batches anywhere and crashed anywhere, leaves the target as
//! serial application would. The servers are the oracle: one table takes the changes as the source would and so decides
//! which are valid, a second one of the target's structure takes each event by itself in plain SQL.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use apply::target::connection::Session;
use apply::target::failure::Fault;
use apply::target::mapping::TableMapping;
use apply::target::progress::Lane;
use apply::target::writer::{Policies, write_batch};
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use schemas::decode::DatumKind;
use schemas::documents::Columns;
use schemas::encode::Op;

use crate::harness::{Event, Place, Row, Server, Val, batch, column, token};
use crate::shapes::{SHAPES, Shape, literal};

/// Polls a future so many times and then forgets it, as a process that dies.
struct Mortal<F> {
    life: u32,
    future: F,
}

impl<F: Future + Unpin> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.life == 0 {
            return Poll::Ready(None);
        }
        self.life -= 1;
        Pin::new(&mut self.future).poll(context).map(Some)
    }
}

fn condition(shape: &Shape, row: &[Val]) -> String {
    let part = |&k: &usize| {
        let (name, kind) = shape.columns[k];
        let value = literal(&row[k], kind);
        // Text by its bytes: another row may be equal by collation.
        let bytes = if matches!(row[k], Val::Text(_)) {
            format!(" AND HEX(CONVERT({name} USING utf8mb4)) = HEX({value})")
        } else {
            String::new()
        };
        format!("{name} = {value}{bytes}")
    };
    shape.key.iter().map(part).collect::<Vec<_>>().join(" AND ")
}

fn written(shape: &Shape) -> Vec<usize> {
    (0..shape.columns.len()).filter(|&i| !shape.exclude.contains(&shape.columns[i].0)).collect()
}

/// The plain statement of one change, for the columns given.
fn statement(shape: &Shape, table: &str, columns: &[usize], before: &[Val], after: &[Val]) -> String {
    let names = || columns.iter().map(|&i| shape.columns[i].0).collect::<Vec<_>>().join(", ");
    let value = |i: usize| literal(&after[i], shape.columns[i].1);
    match (before.is_empty(), after.is_empty()) {
        (true, _) => {
            let values = columns.iter().map(|&i| value(i)).collect::<Vec<_>>().join(", ");
            format!("INSERT INTO {table} ({}) VALUES ({values})", names())
        }
        (false, true) => format!("DELETE FROM {table} WHERE {}", condition(shape, before)),
        (false, false) => {
            let set = columns
                .iter()
                .map(|&i| format!("{} = {}", shape.columns[i].0, value(i)))
                .collect::<Vec<_>>()
                .join(", ");
            format!("UPDATE {table} SET {set} WHERE {}", condition(shape, before))
        }
    }
}

struct Source<'s> {
    shape: &'s Shape,
    rows: Vec<Row>,
    offset: i64,
}

impl Source<'_> {
    fn key(&self, row: &[Val]) -> Vec<u8> {
        self.shape.key.iter().map(|&k| format!("{:?};", row[k])).collect::<String>().into_bytes()
    }

    /// Tries a change at the source; what it publishes, if the server takes it.
    async fn change(
        &mut self,
        place: &mut Place,
        rng: &mut StdRng,
        before: Option<usize>,
        after: Option<Row>,
    ) -> Vec<Event> {
        let old = before.map(|i| self.rows[i].clone()).unwrap_or_default();
        let new = after.unwrap_or_default();
        let all: Vec<usize> = (0..self.shape.columns.len()).collect();
        let sql = statement(self.shape, "source", &all, &old, &new);
        match place.sql.query_drop(&sql).await {
            Ok(()) => {}
            Err(mysql_async::Error::Server(error)) if error.code == 1062 => return Vec::new(),
            Err(error) => panic!("{sql}: {error}"),
        }
        match (before, new.is_empty()) {
            (Some(at), true) => drop(self.rows.swap_remove(at)),
            (Some(at), false) => self.rows[at] = new.clone(),
            (None, _) => self.rows.push(new.clone()),
        }
        let (first, second) = (self.offset + rng.random_range(1..3), self.offset + rng.random_range(3..5));
        if old.is_empty() || new.is_empty() || self.key(&old) == self.key(&new) {
            self.offset = first;
            let (op, key) = match (old.is_empty(), new.is_empty()) {
                (true, _) => (Op::Create, self.key(&new)),
                (false, true) => (Op::Delete, self.key(&old)),
                (false, false) => (Op::Update, self.key(&old)),
            };
            return vec![Event::new(first, &key, op, &old, &new)];
        }
        self.offset = second;
        vec![
            Event::new(first, &self.key(&old), Op::Delete, &old, &[]),
            Event::new(second, &self.key(&new), Op::Create, &[], &new),
        ]
    }

    async fn events(&mut self, place: &mut Place, rng: &mut StdRng, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let pick = if self.rows.is_empty() { None } else { Some(rng.random_range(0..self.rows.len())) };
            let fresh = (self.shape.row)(rng);
            let (before, after) = match (rng.random_range(0..100), pick) {
                (0..30, _) | (_, None) => (None, Some(fresh)),
                (30..50, at) => (at, None),
                // An update that changes nothing, all but the key, or the key as well.
                (50..55, Some(at)) => (Some(at), Some(self.rows[at].clone())),
                (55..85, Some(at)) => {
                    let mut row = fresh;
                    for &k in self.shape.key {
                        row[k] = self.rows[at][k].clone();
                    }
                    (Some(at), Some(row))
                }
                (_, at) => (at, Some(fresh)),
            };
            events.extend(self.change(place, rng, before, after).await);
        }
        events
    }
}

/// Connects and claims as a new owner, waiting for whatever the dead one still holds.
async fn take_over(place: &Place, owner: &mut u32) -> (Session, Lane) {
    *owner += 1;
    for _ in 0..20 {
        let mut session = place.session().await;
        match place.claim(&mut session, &token(*owner)).await {
            Ok((lane, _)) => return (session, lane),
            Err(failure) => assert_eq!(failure.fault, Fault::Busy, "{}", failure.error),
        }
    }
    panic!("the dead owner's locks did not go away");
}

/// Applies events in random batches with random deaths; the number of batches applied serially.
async fn apply_all(place: &Place, mapping: &TableMapping, events: &[Event], rng: &mut StdRng, owner: &mut u32) -> u32 {
    let mut serial = 0;
    let (mut session, mut lane) = take_over(place, owner).await;
    let largest = if rng.random_bool(0.3) { events.len() } else { 30 };
    loop {
        let done = events.partition_point(|e| e.offset < lane.next_offset());
        if done == events.len() {
            return serial;
        }
        let end = done + rng.random_range(1..=largest.min(events.len() - done));
        let chosen = &events[done..end];
        let last = &events[end - 1];
        let next = events.get(end).map_or(last.offset + 1, |e| rng.random_range(last.offset + 1..=e.offset));
        let to = (next, last.ordinal());
        let from = lane.next_offset();
        let life = if rng.random_bool(0.25) { rng.random_range(1..12) } else { u32::MAX };
        let batch = batch(chosen);
        let result = {
            let future = pin!(write_batch(&mut session, &mut lane, mapping, Policies::default(), &batch, to));
            Mortal { life, future }.await
        };
        match result {
            Some(Ok(outcome)) => {
                assert_eq!((lane.next_offset(), outcome.events), (to.0, chosen.len() as u64));
                serial += u32::from(outcome.serial);
            }
            Some(Err(error)) => panic!("{error:?}"),
            None => {
                drop(session);
                (session, lane) = take_over(place, owner).await;
                assert!([from, to.0].contains(&lane.next_offset()), "{} of {from}..{}", lane.next_offset(), to.0);
            }
        }
    }
}

async fn run_case(server: Server, shape: &Shape, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut place = Place::new(server, &format!("equal_{}", shape.name)).await;
    place.run(&format!("CREATE TABLE source ({})", shape.source)).await;
    place.run(&format!("CREATE TABLE serial ({})", shape.target)).await;
    place.run("CREATE TABLE target LIKE serial").await;
    let writer: Vec<_> = shape.columns.iter().map(|&(name, kind)| column(name, kind)).collect();
    let rules = Columns { exclude: shape.exclude.iter().map(|&name| name.to_owned()).collect(), ..Columns::default() };
    let mut session = place.session().await;
    let mapping = TableMapping::resolve(&mut session, &writer, &rules, &place.table("target")).await;
    let mapping = mapping.unwrap_or_else(|failure| panic!("{}", failure.error));
    session.close().await;
    let mut source = Source { shape, rows: Vec::new(), offset: 0 };
    let mut owner = 0;
    let mut serial = 0;
    for _ in 0..2 {
        let count = rng.random_range(40..120);
        let events = source.events(&mut place, &mut rng, count).await;
        let columns = written(shape);
        for event in &events {
            place.run(&statement(shape, "serial", &columns, &event.before, &event.after)).await;
        }
        serial += apply_all(&place, &mapping, &events, &mut rng, &mut owner).await;
        let compare = |table: &str| format!("SELECT {} FROM {table} ORDER BY 1, 2", shape.compare);
        let expected = place.rows(&compare("serial")).await;
        assert_eq!(place.rows(&compare("target")).await, expected, "events: {events:#?}");
        // What only the target knows must survive updates, and fall back to its default when a row is made anew.
        if shape.compare.contains("local") {
            place.run("UPDATE target SET local = local + id; UPDATE serial SET local = local + id").await;
        }
    }
    if shape.never_serial {
        assert_eq!(serial, 0, "batches took the slow way");
    }
    place.drop().await;
}

async fn run_shape(server: Server, name: &str) {
    let shape = SHAPES.iter().find(|shape| shape.name == name).expect("as the test has it");
    let cases = if std::env::var_os("OTTER_TEST_LONG").is_some() { 200 } else { 4 };
    let given = std::env::var("OTTER_TEST_SEED").ok().map(|seed| seed.parse().expect("OTTER_TEST_SEED is a number"));
    for _ in 0..if given.is_some() { 1 } else { cases } {
        let seed: u64 = given.unwrap_or_else(rand::random);
        println!("{name}: OTTER_TEST_SEED={seed}");
        run_case(server, shape, seed).await;
    }
}

macro_rules! shapes {
    ($($name:ident)*) => {
        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::run_shape(super::Server::Mariadb, stringify!($name)).await;
            })*
        }
        mod mysql {
            $(#[tokio::test]
            async fn $name() {
                super::run_shape(super::Server::Mysql, stringify!($name)).await;
            })*
        }
    };
}

shapes! { int_key unique_key ci_key composite_key excluded_column odd_types other_key surrogate_key latin1_key key_alone generated_unique }

#[test]
fn every_shape_has_its_test() {
    assert_eq!(SHAPES.len(), 11);
    assert!(SHAPES.iter().all(|shape| shape.columns.iter().any(|(_, kind)| *kind != DatumKind::Double)));
}
