//! A writer at the source: random transactions over all tables of a case. It draws from its own random numbers alone and
//! never looks at what is in the tables, so a seed makes the same statements again, whatever becomes of them.

use super::shape::{Column, Table};
use crate::harness::{Context as _, Database, Result, Site};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two transactions: a load that every worker keeps up with.
const PACE: Duration = Duration::from_millis(20);
/// Whether tables are emptied by TRUNCATE now and then.
const TRUNCATE: bool = true;
/// What the source may answer to a statement: a key that is there, NULL where none may be, a row that changed meanwhile
/// (MariaDB), a lock that another has, a parent that is missing, or has children.
const REFUSALS: [u16; 7] = [1062, 1048, 1020, 1205, 1452, 1451, 1701];
/// The whole transaction was taken back: a deadlock.
const DEADLOCK: u16 = 1213;

/// A connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    random: StdRng,
    database: Database,
    schema: String,
    tables: Vec<Table>,
    number: u32,
    committed: u64,
}

impl Writer {
    /// A writer with random numbers of its own.
    pub(super) async fn new(site: &Site, tables: Vec<Table>, seed: u64) -> Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut database = site.source().await?;
        let level = if random.random() { "READ COMMITTED" } else { "REPEATABLE READ" };
        database.run(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}")).await?;
        database.run("SET SESSION innodb_lock_wait_timeout = 1").await?;
        let number = random.random_range(0..1_000_000);
        Ok(Self { random, database, schema: site.name.clone(), tables, number, committed: 0 })
    }

    /// Transactions that were committed.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// Writes at its pace until somebody says that it is enough.
    pub(super) async fn write_until(&mut self, done: &Cell<bool>) -> Result<()> {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done.get() {
            ticks.tick().await;
            self.transaction().await?;
        }
        Ok(())
    }

    /// One transaction of a few changes; some are rolled back, a statement that was refused is left out.
    async fn transaction(&mut self) -> Result<()> {
        let changes = self.random.random_range(1..=4);
        let rolled_back = self.random.random_bool(0.05);
        let mut statements = Vec::new();
        for _ in 0..changes {
            self.change(&mut statements);
        }
        self.database.run("START TRANSACTION").await?;
        for statement in statements {
            match self.try_run(&statement).await? {
                None => {}
                Some(DEADLOCK) => return Ok(()),
                Some(_) => {}
            }
        }
        self.database.run(if rolled_back { "ROLLBACK" } else { "COMMIT" }).await?;
        self.committed += u64::from(!rolled_back);
        Ok(())
    }

    /// Runs a statement; the number of the server's refusal, if it is one of those that belong here.
    async fn try_run(&mut self, statement: &str) -> Result<Option<u16>> {
        let Err(error) = self.database.run(statement).await else { return Ok(None) };
        match error.downcast_ref::<mysql_async::Error>() {
            Some(mysql_async::Error::Server(refusal))
                if refusal.code == DEADLOCK || REFUSALS.contains(&refusal.code) =>
            {
                Ok(Some(refusal.code))
            }
            _ => Err(error).context("a writer"),
        }
    }

    /// The statements of one change of one table.
    fn change(&mut self, statements: &mut Vec<String>) {
        let table = self.tables[self.random.random_range(0..self.tables.len())].clone();
        let name = table.at_source(&self.schema);
        match self.random.random_range(0..100) {
            0..25 => statements.push(self.insert(&table, &name)),
            25..40 => statements.push(self.update(&table, &name)),
            40..52 => statements.push(self.shift(&table, &name)),
            52..70 => self.exchange(&table, &name, statements),
            70..82 => self.pass_on(&table, &name, statements),
            82..99 => statements.push(self.delete(&table, &name)),
            _ if TRUNCATE => statements.push(format!("TRUNCATE TABLE {name}")),
            _ => statements.push(format!("DELETE FROM {name}")),
        }
    }

    /// Several rows in one statement, in each of the ways to insert.
    fn insert(&mut self, table: &Table, name: &str) -> String {
        let rows = if self.random.random_bool(0.1) { 40 } else { self.random.random_range(1..=6) };
        let rows: Vec<String> = (0..rows).map(|_| self.row(table)).collect();
        let rows = rows.join(", ");
        let column = table.some_column(&mut self.random);
        let value = column.value(&mut self.random);
        match self.random.random_range(0..4) {
            0 => format!("INSERT INTO {name} VALUES {rows}"),
            1 => format!("INSERT IGNORE INTO {name} VALUES {rows}"),
            2 => format!("REPLACE INTO {name} VALUES {rows}"),
            _ => {
                format!("INSERT INTO {name} VALUES {rows} ON DUPLICATE KEY UPDATE n = n + 1, {} = {value}", column.name)
            }
        }
    }

    fn row(&mut self, table: &Table) -> String {
        let values: Vec<String> = table.columns.iter().map(|column| column.value(&mut self.random)).collect();
        let salt = self.random.random_range(0..1000);
        let text = if salt % 3 == 0 { "NULL".to_owned() } else { format!("'text {salt}'") };
        format!("({}, {salt}, {text})", values.join(", "))
    }

    /// Some rows: a condition, in an order.
    fn some_rows(&mut self, table: &Table) -> String {
        let column = &table.columns[self.random.random_range(0..table.columns.len())];
        let value = self.value_of(column);
        let (name, order) = (column.name, if self.random.random() { "DESC" } else { "ASC" });
        match self.random.random_range(0..3) {
            0 => format!("{name} = {value}"),
            1 => format!("{name} >= {value} ORDER BY {name} {order} LIMIT {}", self.random.random_range(1..12)),
            _ => format!("n % 7 = {} ORDER BY {name} {order}", self.random.random_range(0..7)),
        }
    }

    fn update(&mut self, table: &Table, name: &str) -> String {
        let rows = self.some_rows(table);
        let column = table.some_column(&mut self.random);
        let value = column.value(&mut self.random);
        match self.random.random_range(0..3) {
            0 => format!("UPDATE {name} SET n = n + 1, t = CONCAT(COALESCE(LEFT(t, 40), ''), '+') WHERE {rows}"),
            1 => format!("UPDATE IGNORE {name} SET {} = {value}, n = n + 1 WHERE {rows}", column.name),
            _ => format!("UPDATE {name} SET {} = {value} WHERE {rows}", column.name),
        }
    }

    /// Every row takes the value of its neighbour: valid only in this order. Text changes its spelling.
    fn shift(&mut self, table: &Table, name: &str) -> String {
        let column = table.some_column(&mut self.random);
        let (c, up) = (column.name, self.random.random());
        let ignore = if self.random.random_bool(0.3) { "IGNORE " } else { "" };
        match (column.holds, up) {
            (super::shape::Holds::Numbers, true) => {
                format!("UPDATE {ignore}{name} SET {c} = {c} + 1 WHERE {c} < 60 ORDER BY {c} DESC LIMIT 15")
            }
            (super::shape::Holds::Numbers, false) => {
                format!("UPDATE {ignore}{name} SET {c} = {c} - 1 WHERE {c} > -20 ORDER BY {c} LIMIT 15")
            }
            (super::shape::Holds::Bytes, _) => {
                format!("UPDATE {ignore}{name} SET {c} = CONCAT('z', SUBSTRING({c}, 2)) WHERE {c} > 'A' LIMIT 8")
            }
            (_, true) => format!("UPDATE {ignore}{name} SET {c} = UPPER({c}) WHERE {c} > 'a1' LIMIT 8"),
            (_, false) => {
                format!("UPDATE {ignore}{name} SET {c} = CONCAT('á', SUBSTRING({c}, 2)) WHERE {c} > 'a1' LIMIT 8")
            }
        }
    }

    /// Two or three rows exchange a column's values, by way of one that nobody else has.
    fn exchange(&mut self, table: &Table, name: &str, statements: &mut Vec<String>) {
        let by = &table.columns[self.random.random_range(0..2)];
        let column = table.some_column(&mut self.random);
        let (key, c) = (by.name, column.name);
        let rows: Vec<String> = (0..self.random.random_range(2..=3)).map(|_| self.value_of(by)).collect();
        for (at, row) in rows.iter().enumerate() {
            statements.push(format!("SET @v{at} = (SELECT {c} FROM {name} WHERE {key} = {row} LIMIT 1)"));
        }
        // the first row steps aside, each next one takes the place before it, the first takes the last one's
        let spare = column.spare(self.number);
        statements.push(format!("UPDATE {name} SET {c} = {spare} WHERE {key} = {} LIMIT 1", rows[0]));
        for (at, row) in rows.iter().enumerate().skip(1) {
            statements.push(format!("UPDATE {name} SET {c} = @v{} WHERE {key} = {row} LIMIT 1", at - 1));
        }
        statements.push(format!("UPDATE {name} SET {c} = @v{} WHERE {c} = {spare} LIMIT 1", rows.len() - 1));
    }

    /// A row goes and another one takes its values under another key, or the row comes back in another spelling.
    fn pass_on(&mut self, table: &Table, name: &str, statements: &mut Vec<String>) {
        let key = &table.columns[0];
        let (old, new) = (self.value_of(key), self.value_of(key));
        let all: Vec<_> = table.columns.iter().map(|column| column.name).collect();
        for column in &all {
            statements.push(format!("SET @p{column} = (SELECT {column} FROM {name} WHERE a = {old} LIMIT 1)"));
        }
        statements.push(format!("DELETE FROM {name} WHERE a = {old} LIMIT 1"));
        let rest: Vec<String> = all[1..].iter().map(|column| format!("@p{column}")).collect();
        statements.push(format!("INSERT INTO {name} VALUES ({new}, {}, 7, 'passed on')", rest.join(", ")));
    }

    fn delete(&mut self, table: &Table, name: &str) -> String {
        let rows = self.some_rows(table);
        format!("DELETE FROM {name} WHERE {rows}")
    }

    /// A value that is not NULL.
    fn value_of(&mut self, column: &Column) -> String {
        Column { nullable: false, ..column.clone() }.value(&mut self.random)
    }
}
