//! The workloads: W1 inserts in 10,000-row transactions, W2 one-row updates, both on the table of the README.

use anyhow::{Context as _, Result};
use mysql_async::{Conn, prelude::*};

use crate::servers::Servers;

/// Rows of a W1 transaction.
const TRANSACTION_ROWS: u64 = 10_000;

/// The table of the README, under a schema of its own.
pub(crate) fn create_table(schema: &str, table: &str) -> String {
    format!(
        "CREATE TABLE {schema}.{table} (
           id int unsigned auto_increment PRIMARY KEY, username varchar(100) DEFAULT '' NOT NULL,
           age int DEFAULT 0 NOT NULL, email varchar(64) DEFAULT '' NOT NULL,
           created_time datetime DEFAULT CURRENT_TIMESTAMP NOT NULL,
           modified_time datetime DEFAULT CURRENT_TIMESTAMP NOT NULL ON UPDATE CURRENT_TIMESTAMP,
           is_deleted tinyint(2) DEFAULT 0 NOT NULL) CHARSET = utf8mb4"
    )
}

/// One stretch of binlog with changes of one table.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    /// Name of the source and pipeline documents.
    pub(crate) name: &'static str,
    /// Schema at the source and at the target.
    pub(crate) schema: &'static str,
    /// GTID position before the first change.
    pub(crate) start: String,
    /// Changed rows, one event each.
    pub(crate) rows: u64,
}

/// Both stretches, as they lie in the source's binlog.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) inserts: Stretch,
    pub(crate) updates: Stretch,
}

impl Workload {
    /// Fills the source's binlog with both workloads.
    pub(crate) async fn fill(servers: &Servers, inserts: u64, updates: u64) -> Result<Self> {
        let mut conn = Servers::connect(&servers.source).await?;
        let mut load = Self {
            inserts: Stretch { name: "bench-w1", schema: "bench_w1", start: String::new(), rows: inserts },
            updates: Stretch { name: "bench-w2", schema: "bench_w2", start: String::new(), rows: updates },
        };
        for stretch in [&load.inserts, &load.updates] {
            conn.query_drop(format!("DROP DATABASE IF EXISTS {0}", stretch.schema)).await?;
            conn.query_drop(format!("CREATE DATABASE {0}", stretch.schema)).await?;
            conn.query_drop(create_table(stretch.schema, "tb_user")).await?;
        }
        load.inserts.start = position(&mut conn).await?;
        insert_rows(&mut conn, "bench_w1", inserts).await?;
        // W2 updates rows that were there before its stretch begins
        insert_rows(&mut conn, "bench_w2", updates.min(10_000)).await?;
        load.updates.start = position(&mut conn).await?;
        update_rows(&mut conn, updates).await?;
        Ok(load)
    }
}

/// The server's GTID position now.
pub(crate) async fn position(conn: &mut Conn) -> Result<String> {
    conn.query_first("SELECT @@gtid_binlog_pos").await?.context("the server has no GTID position")
}

async fn insert_rows(conn: &mut Conn, schema: &str, rows: u64) -> Result<()> {
    let mut done = 0;
    while done < rows {
        let count = TRANSACTION_ROWS.min(rows - done);
        let first = done + 1;
        conn.query_drop(format!(
            "INSERT INTO {schema}.tb_user (id, username, age, email)
             SELECT seq, CONCAT('user', seq), seq % 90, CONCAT('user', seq, '@example.org') FROM {schema}.seq_{first}_to_{}",
            done + count
        ))
        .await?;
        done += count;
    }
    Ok(())
}

/// One-row updates in autocommit, sent by a stored procedure so that the client is not the limit.
async fn update_rows(conn: &mut Conn, updates: u64) -> Result<()> {
    conn.query_drop(
        "CREATE PROCEDURE bench_w2.run(IN n INT) BEGIN DECLARE i INT DEFAULT 0;
           WHILE i < n DO UPDATE bench_w2.tb_user SET age = age + 1 WHERE id = 1 + i % 10000; SET i = i + 1; END WHILE;
         END",
    )
    .await?;
    conn.query_drop(format!("CALL bench_w2.run({updates})")).await?;
    Ok(())
}
