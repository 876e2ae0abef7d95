//! Money moves between the accounts of two tables, over four partitions each. Every transfer is one transaction and two
//! events, so at the source the sum is the same at all times; at the target the two halves of a transfer land in different
//! target transactions, by different workers, and the sum moves about. It is right whenever all lanes have passed the same
//! checkpoint.
//!
//! How that is told: progress rows and sums are read in one snapshot of the target, many times while money moves. A lane's
//! progress names the ordinal of the last event it has applied. Afterwards the topics say which events there were, all in
//! order of their ordinals, the two of a transfer side by side. So of each snapshot it is known which events it holds:
//!
//! - its sum must be what those events make of the beginning (each lane has applied exactly what its progress says), and
//! - if they are the first ones of the whole order, and none but whole transfers, then all lanes have passed one checkpoint
//!   and none is beyond it: the sum must be the bank's. At least once after each round of transfers this must be seen.

use super::crew::Crew;
use super::{put, settle};
use crate::harness::topics::changes;
use crate::harness::{Context as _, Database, Result, Servers, Site, ensure, seed};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use schemas::decode::Datum;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const TABLES: [&str; 2] = ["giro", "savings"];
const PARTITIONS: u32 = 4;
const ACCOUNTS: i64 = 50;
const BALANCE: i64 = 1000;
const WRITERS: u64 = 4;
const ROUNDS: u32 = 4;
/// Transfers of one writer in a round.
const TRANSFERS: u32 = 80;

/// What one look at the target found.
#[derive(Debug)]
struct Snapshot {
    sum: i64,
    /// Ordinal of the last event applied, by topic and partition.
    lanes: HashMap<(String, i32), i64>,
}

impl Snapshot {
    /// Whether its lanes have passed this half.
    fn holds(&self, half: &Half) -> bool {
        self.lanes.get(&half.lane).is_some_and(|ordinal| half.ordinal <= *ordinal)
    }
}

/// One half of a transfer.
#[derive(Debug)]
struct Half {
    ordinal: i64,
    lane: (String, i32),
    amount: i64,
}

#[tokio::test]
async fn the_sum_is_right_at_every_checkpoint() -> Result<()> {
    let site = Site::new("bank", Servers::shared()?).await?;
    open_accounts(&site).await?;
    put(&site, &TABLES.map(|table| (table, PARTITIONS))).await?;
    let mut crew = Crew::start(&site, 2).await?;
    let seed = seed();
    let snapshots = RefCell::new(Vec::new());
    for round in 0..ROUNDS {
        let done = Cell::new(false);
        let moving = async {
            let clerks = (0..WRITERS).map(|clerk| transfers(&site, seed ^ (clerk << 8 | u64::from(round))));
            futures_util::future::try_join_all(clerks).await?;
            if round == 1 {
                crew.lose(0).await?;
            }
            settle(&site, &mut crew, &TABLES).await?;
            done.set(true);
            Ok(())
        };
        tokio::try_join!(moving, look_until(&site, &done, &snapshots))?;
        // when all has arrived, the money is all there
        let last = look(&mut site.target().await?, &site).await?;
        ensure!(last.sum == total(), "after round {round} the target has {}, not {}", last.sum, total());
        snapshots.borrow_mut().push(last);
    }
    crew.at_rest().await?;
    crew.stop().await?;
    check(&halves(&site).await?, &snapshots.into_inner())
}

/// All the money there is.
const fn total() -> i64 {
    2 * ACCOUNTS * BALANCE
}

/// Both tables at both ends, with the same money: transfers are all that the topics get.
async fn open_accounts(site: &Site) -> Result<()> {
    for table in TABLES {
        site.create(table, table, "id int PRIMARY KEY, balance bigint NOT NULL").await?;
        let accounts: Vec<String> = (1..=ACCOUNTS).map(|id| format!("({id}, {BALANCE})")).collect();
        for (database, name) in
            [(&mut site.source().await?, site.from(table)), (&mut site.target().await?, site.to(table))]
        {
            database.run(&format!("INSERT INTO {name} VALUES {}", accounts.join(", "))).await?;
        }
    }
    Ok(())
}

/// One clerk's transfers of a round; one that meets another's lock is begun again.
async fn transfers(site: &Site, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut source = site.source().await?;
    for _ in 0..TRANSFERS {
        let account = |random: &mut StdRng| (random.random_range(0..TABLES.len()), random.random_range(1..=ACCOUNTS));
        let (from, mut to) = (account(&mut random), account(&mut random));
        while to == from {
            to = account(&mut random);
        }
        let amount = random.random_range(1..100);
        while !transfer(&mut source, site, (from, to), amount).await? {}
    }
    Ok(())
}

/// Whether it was committed.
async fn transfer(
    source: &mut Database,
    site: &Site,
    (from, to): ((usize, i64), (usize, i64)),
    amount: i64,
) -> Result<bool> {
    source.run("START TRANSACTION").await?;
    for ((table, id), amount) in [(from, -amount), (to, amount)] {
        let table = site.from(TABLES[table]);
        let done = source.run(&format!("UPDATE {table} SET balance = balance + {amount} WHERE id = {id}")).await;
        match done.as_ref().err().and_then(|error| error.downcast_ref()) {
            Some(mysql_async::Error::Server(refusal)) if [1205, 1213].contains(&refusal.code) => {
                source.run("ROLLBACK").await?;
                return Ok(false);
            }
            _ => ensure!(done? == 1, "account {id} of {table} is not there"),
        }
    }
    source.run("COMMIT").await?;
    Ok(true)
}

async fn look_until(site: &Site, done: &Cell<bool>, snapshots: &RefCell<Vec<Snapshot>>) -> Result<()> {
    let mut target = site.target().await?;
    let mut ticks = interval(Duration::from_millis(5));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !done.get() {
        ticks.tick().await;
        let seen = look(&mut target, site).await?;
        snapshots.borrow_mut().push(seen);
    }
    Ok(())
}

/// Progress and sums in one snapshot.
async fn look(target: &mut Database, site: &Site) -> Result<Snapshot> {
    target.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
    let progress = schemas::progress::qualified(&site.target_schema);
    let exists: Option<String> = target
        .maybe_row(&format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '{}' AND table_name = 'progress'",
            site.target_schema
        ))
        .await?;
    let rows: Vec<(String, i32, i64)> = match exists {
        Some(_) => target.rows(&format!("SELECT topic, `partition`, ordinal FROM {progress}")).await?,
        None => Vec::new(),
    };
    let mut sum = 0;
    for table in TABLES {
        sum += target.row::<i64>(&format!("SELECT CAST(SUM(balance) AS SIGNED) FROM {}", site.to(table))).await?;
    }
    target.run("COMMIT").await?;
    Ok(Snapshot { sum, lanes: rows.into_iter().map(|(topic, part, ordinal)| ((topic, part), ordinal)).collect() })
}

/// What the topics hold, in order of the ordinals.
async fn halves(site: &Site) -> Result<Vec<Half>> {
    let mut halves = Vec::new();
    for table in TABLES {
        for partition in 0..i32::try_from(PARTITIONS)? {
            let lane = (site.topic(table), partition);
            let balance = |row: &[Datum<'_>]| match row {
                [_, Datum::Int(balance)] => Some(*balance),
                _ => None,
            };
            let mut strange = 0;
            changes(site, (table, partition), |ordinal, before, after| match (balance(before), balance(after)) {
                (Some(old), Some(new)) => halves.push(Half { ordinal, lane: lane.clone(), amount: new - old }),
                _ => strange += 1,
            })
            .await?;
            ensure!(strange == 0, "{strange} events of {lane:?} are no half of a transfer");
        }
    }
    halves.sort_by_key(|half| half.ordinal);
    Ok(halves)
}

/// What must hold of every snapshot, and how often there was a checkpoint.
fn check(halves: &[Half], snapshots: &[Snapshot]) -> Result<()> {
    let written = u64::from(ROUNDS * TRANSFERS) * WRITERS * 2;
    ensure!(halves.len() as u64 == written, "the topics hold {} events, not {written}", halves.len());
    ensure!(
        halves.chunks(2).all(|pair| pair[0].amount == -pair[1].amount),
        "halves of a transfer are not side by side"
    );
    let mut checkpoints = 0;
    for snapshot in snapshots {
        let applied = |half: &Half| snapshot.holds(half);
        let sum: i64 = halves.iter().filter(|half| applied(half)).map(|half| half.amount).sum();
        ensure!(snapshot.sum == total() + sum, "the progress rows say {}: {snapshot:?}", total() + sum);
        let count = halves.iter().filter(|half| applied(half)).count();
        if count % 2 == 0 && halves[..count].iter().all(applied) {
            checkpoints += 1;
            ensure!(snapshot.sum == total(), "at a checkpoint there is {}: {snapshot:?}", snapshot.sum);
        }
    }
    let last = snapshots.last().context("no snapshot")?;
    ensure!(halves.iter().all(|half| last.holds(half)), "the last snapshot does not hold everything");
    ensure!(checkpoints >= ROUNDS, "{checkpoints} of {} snapshots at a checkpoint", snapshots.len());
    println!("{} transfers, {} snapshots, {checkpoints} of them at a checkpoint", halves.len() / 2, snapshots.len());
    Ok(())
}
