//! A table over several partitions is emptied again and again while it is written. What came before is gone and what came
//! behind is there, row for row, although each lane meets the TRUNCATE in its own time.

use super::crew::Crew;
use super::{put, settle};
use crate::harness::{Database, Result, Servers, Site, ensure, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// By two workers, while two writers insert the same ids anew.
#[tokio::test]
async fn a_truncate_amid_a_load_leaves_what_came_behind_it() -> Result<()> {
    let site = Site::new("truncate", Servers::shared()?).await?;
    site.create("t", "t", "id int PRIMARY KEY, n int NOT NULL").await?;
    put(&site, &[("t", 4)]).await?;
    let mut crew = Crew::start(&site, 2).await?;
    let table = site.from("t");
    let (mut one, mut other, mut third) = (site.source().await?, site.source().await?, site.source().await?);
    let emptying = async {
        for _ in 0..4 {
            let before: u64 = third.row(&format!("SELECT COUNT(*) FROM {table}")).await?;
            wait_for("rows to empty", SOON, async || {
                let count: u64 =
                    third.row(&format!("SELECT COUNT(*) FROM {table}")).await.map_err(|error| format!("{error:#}"))?;
                if count > before.max(200) { Ok(()) } else { Err(format!("{count} rows")) }
            })
            .await?;
            third.run(&format!("TRUNCATE TABLE {table}")).await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(inserts(&mut one, &table, 0), inserts(&mut other, &table, 1), emptying)?;
    let left: u64 = one.row(&format!("SELECT COUNT(*) FROM {table}")).await?;
    settle(&site, &mut crew, &["t"]).await?;
    let arrived: u64 = site.target().await?.row(&format!("SELECT COUNT(*) FROM {}", site.to("t"))).await?;
    ensure!(arrived == left && left > 0, "{arrived} rows have arrived of {left}");
    crew.at_rest().await?;
    crew.stop().await
}

/// Odd or even ids in transactions of some rows; the ids begin anew when all were written, and some rows change.
async fn inserts(source: &mut Database, table: &str, odd: u32) -> Result<()> {
    for step in 0..600 {
        let first = step % 300 * 10 + odd;
        let rows: Vec<String> = (0..5).map(|n| format!("({}, {step})", first + 2 * n)).collect();
        source.run("START TRANSACTION").await?;
        source.run(&format!("INSERT IGNORE INTO {table} VALUES {}", rows.join(", "))).await?;
        source.run(&format!("UPDATE {table} SET n = n + 1 WHERE id = {first}")).await?;
        source.run("COMMIT").await?;
    }
    Ok(())
}
