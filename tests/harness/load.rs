//! A random load: transactions of 1 to 10,000 rows of inserts, updates, changes of keys and deletes, some of them rolled back
//! wholly or to a savepoint. It knows how many events of each kind a subscriber must see.

use super::topics::Counts;
use super::{Database, Kind, Result, Site, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;
use tokio::sync::watch;

/// The columns of a load's table: tb_user's and some harder ones.
pub(crate) const COLUMNS: &str = "
  id int unsigned primary key,
  username varchar(100) default '' not null,
  age int default 0 not null,
  email varchar(64) default '' not null,
  created_time datetime default CURRENT_TIMESTAMP not null,
  modified_time datetime(6) default CURRENT_TIMESTAMP(6) not null on update CURRENT_TIMESTAMP(6),
  is_deleted tinyint(2) default 0 not null,
  note text null,
  amount decimal(12,3) null,
  ratio double null,
  data varbinary(40) null";

/// The most rows of one transaction.
const MAX_TRANSACTION: f64 = 10_000.0;

/// A writer with an id space of its own. Rows changed count as events do: a change of key twice.
#[derive(Debug)]
pub(crate) struct Load {
    random: StdRng,
    database: Database,
    table: String,
    model: Model,
    written: watch::Sender<u64>,
}

/// What the table and the topic must hold of this writer.
#[derive(Debug, Clone)]
struct Model {
    live: BTreeSet<u32>,
    next: u32,
    counts: Counts,
}

impl Load {
    /// A writer of `table` whose ids begin at `first`.
    pub(crate) async fn new(site: &Site, table: &str, seed: u64, first: u32) -> Result<Self> {
        let mut database = site.source().await?;
        // without gap locks, two writers of one table never wait for each other
        database.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        database.run(&format!("USE {}", site.name)).await?; // the tables of numbers have no schema of their own
        if database.kind() == Kind::Mysql {
            database.run("SET SESSION cte_max_recursion_depth = 10000").await?;
        }
        Ok(Self {
            random: StdRng::seed_from_u64(seed ^ u64::from(first)),
            database,
            table: site.from(table),
            model: Model { live: BTreeSet::new(), next: first, counts: Counts::default() },
            written: watch::Sender::new(0),
        })
    }

    /// Changes a setting of the writer's session.
    pub(crate) async fn set(&mut self, setting: &str) -> Result<()> {
        self.database.run(&format!("SET SESSION {setting}")).await?;
        Ok(())
    }

    /// The events that a subscriber must see of what was committed so far.
    pub(crate) fn counts(&self) -> Counts {
        self.model.counts
    }

    /// Follows the count of events committed.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Commits transactions until at least so many more events are due.
    pub(crate) async fn write(&mut self, events: u64) -> Result<()> {
        let end = self.model.counts.events() + events;
        while self.model.counts.events() < end {
            let size = MAX_TRANSACTION.powf(self.random.random::<f64>()) as u64;
            self.transaction(size.min(end - self.model.counts.events()).max(1)).await?;
            self.written.send_replace(self.model.counts.events());
        }
        Ok(())
    }

    /// One transaction of about so many rows.
    pub(crate) async fn transaction(&mut self, rows: u64) -> Result<()> {
        let before = self.model.clone();
        let rolled_back = self.random.random_bool(0.04);
        self.database.run("START TRANSACTION").await?;
        self.changes(rows).await?;
        if self.random.random_bool(0.04) {
            let kept = self.model.clone();
            self.database.run("SAVEPOINT here").await?;
            self.changes(rows.min(500)).await?;
            self.database.run("ROLLBACK TO SAVEPOINT here").await?;
            self.model = kept;
            self.changes(1).await?;
        }
        if rolled_back {
            self.database.run("ROLLBACK").await?;
            self.model = before;
            return Ok(());
        }
        self.database.run("COMMIT").await?;
        Ok(())
    }

    async fn changes(&mut self, rows: u64) -> Result<()> {
        let end = self.model.counts.events() + rows;
        while self.model.counts.events() < end {
            let most = (end - self.model.counts.events()).min(3000) as u32;
            let count = self.random.random_range(1..=most);
            match self.random.random_range(0..100) {
                _ if self.model.live.len() < 2 => self.insert(count).await?,
                0..45 => self.insert(count).await?,
                45..75 => self.update(count).await?,
                75..88 => self.delete(count).await?,
                88..96 => self.shift_keys(count).await?,
                _ => self.swap_keys().await?,
            }
        }
        Ok(())
    }

    async fn insert(&mut self, count: u32) -> Result<()> {
        let (first, salt) = (self.model.next, self.salt());
        let last = first + count - 1;
        let statement = format!(
            "INSERT INTO {} (id, username, age, email, note, amount, ratio, data) \
             SELECT seq, CONCAT('用户', seq, '\\'\\\\'), seq % 90, CONCAT(seq, '@', {salt}), \
             IF(seq % 3, NULL, REPEAT(LEFT(SHA2(seq + {salt}, 256), 32), seq % 5)), IF(seq % 5, seq / 7 - {salt}, NULL), \
             IF(seq % 4, seq / 3e5, NULL), IF(seq % 2, UNHEX(CONCAT(LEFT(SHA2(seq + {salt}, 256), 32), '0000')), NULL) \
             FROM {}",
            self.table,
            self.database.numbers(first, last)
        );
        self.run(&statement, count).await?;
        self.model.next = last + 1;
        self.model.live.extend(first..=last);
        self.model.counts.inserts += u64::from(count);
        Ok(())
    }

    async fn update(&mut self, count: u32) -> Result<()> {
        let (ids, salt) = (self.some_ids(count), self.salt());
        let assignment = match self.random.random_range(0..3) {
            0 => "age = age + 1".to_owned(),
            1 => format!(
                "age = age + 1, note = IF(id % 2, NULL, LEFT(SHA2(id + {salt}, 256), 32)), amount = {salt} / 1000"
            ),
            _ => format!(
                "is_deleted = 1 - is_deleted, email = CONCAT(id, '#', {salt}), data = UNHEX(LEFT(SHA2({salt}, 256), 32))"
            ),
        };
        let statement = format!("UPDATE {} SET {assignment} WHERE {}", self.table, between(&ids));
        self.run(&statement, ids.len() as u32).await?;
        self.model.counts.updates += ids.len() as u64;
        Ok(())
    }

    async fn delete(&mut self, count: u32) -> Result<()> {
        let ids = self.some_ids(count);
        self.run(&format!("DELETE FROM {} WHERE {}", self.table, between(&ids)), ids.len() as u32).await?;
        for id in &ids {
            self.model.live.remove(id);
        }
        self.model.counts.deletes += ids.len() as u64;
        Ok(())
    }

    /// Moves neighbouring rows to ids that no row had before.
    async fn shift_keys(&mut self, count: u32) -> Result<()> {
        let ids = self.some_ids(count);
        let shift = self.model.next - ids[0];
        let statement = format!("UPDATE {} SET id = id + {shift} WHERE {} ORDER BY id DESC", self.table, between(&ids));
        self.run(&statement, ids.len() as u32).await?;
        for id in &ids {
            self.model.live.remove(id);
            self.model.live.insert(id + shift);
        }
        self.model.next = ids[ids.len() - 1] + shift + 1;
        self.count_key_changes(ids.len() as u64);
        Ok(())
    }

    /// Two rows exchange their ids, by way of a third.
    async fn swap_keys(&mut self) -> Result<()> {
        let ids = self.some_ids(2);
        let [one, other] = [ids[0], ids[ids.len() - 1]];
        let free = self.model.next;
        self.model.next += 1;
        let steps =
            if one == other { vec![(one, free), (free, one)] } else { vec![(one, free), (other, one), (free, other)] };
        for (from, to) in &steps {
            self.run(&format!("UPDATE {} SET id = {to} WHERE id = {from}", self.table), 1).await?;
        }
        self.count_key_changes(steps.len() as u64);
        Ok(())
    }

    fn count_key_changes(&mut self, rows: u64) {
        self.model.counts.deletes += rows;
        self.model.counts.inserts += rows;
    }

    /// Neighbouring ids of living rows; at least one.
    fn some_ids(&mut self, count: u32) -> Vec<u32> {
        let (Some(first), Some(last)) = (self.model.live.first(), self.model.live.last()) else { return Vec::new() };
        let from = self.random.random_range(*first..=*last);
        self.model.live.range(from..).take(count as usize).copied().collect()
    }

    fn salt(&mut self) -> u32 {
        self.random.random_range(0..1_000_000)
    }

    /// A statement that must change exactly so many rows: else the model is wrong.
    async fn run(&mut self, statement: &str, rows: u32) -> Result<()> {
        let changed = self.database.run(statement).await?;
        ensure!(changed == u64::from(rows), "{changed} rows changed, not {rows}: {statement}");
        Ok(())
    }
}

fn between(ids: &[u32]) -> String {
    format!("id BETWEEN {} AND {}", ids[0], ids[ids.len() - 1])
}
