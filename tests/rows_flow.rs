//! tb_user to tb_user2: rows arrive, exactly, in milliseconds; every type; the verbs of the CLI.

use crate::harness::database::wait_equal;
use crate::harness::site::TB_USER;
use crate::harness::topics::{Counts, check_topic};
use crate::harness::{Database, Result, Servers, Site, Strain, ensure, wait_for};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn changes_of_tb_user_appear_in_tb_user2() -> Result<()> {
    let site = Site::new("flow", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("tb_user"), site.to("tb_user2"));

    source
        .run(&format!("INSERT INTO {from} (username, email) VALUES ('Zoë', 'z@x'), ('王芳', ''), ('O\\'Neil', '')"))
        .await?;
    source.run(&format!("UPDATE {from} SET age = age + 30 WHERE id < 3")).await?;
    source.run(&format!("UPDATE {from} SET id = 77 WHERE id = 1")).await?;
    source.run(&format!("DELETE FROM {from} WHERE id = 2")).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    let strain = Strain::begin();
    let latencies = latencies(&mut source, &from, &mut target, &to).await?;
    println!(
        "commit to visible at the target, {} rows: p50 {:?}, max {:?}",
        latencies.len(),
        latencies[25],
        latencies[49]
    );
    let half = strain.stretched(Duration::from_millis(500));
    ensure!(latencies[25] < half, "half of the rows took longer than {half:?}: {latencies:?}");
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    otter.stop(Duration::from_secs(10)).await?;
    let counts = check_topic(&site, "tb_user").await?;
    ensure!(counts == Counts { inserts: 54, updates: 2, deletes: 2 }, "{counts:?}");
    Ok(())
}

/// Times from the end of a commit to the row's being visible at the target, of 50 rows, in rising order.
async fn latencies(source: &mut Database, from: &str, target: &mut Database, to: &str) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for id in 1000..1050 {
        source.run(&format!("INSERT INTO {from} (id, username) VALUES ({id}, 'late')")).await?;
        let start = Instant::now();
        while target.maybe_row::<u8>(&format!("SELECT 1 FROM {to} WHERE id = {id}")).await?.is_none() {
            ensure!(start.elapsed() < SOON, "row {id} did not arrive within {SOON:?}");
        }
        latencies.push(start.elapsed());
    }
    latencies.sort();
    Ok(latencies)
}

#[tokio::test]
async fn every_type_arrives_unaltered() -> Result<()> {
    let site = Site::new("types", Servers::shared()?).await?;
    site.create("t", "t", TYPES).await?;
    site.put_all(&[("t", "t")]).await?;
    let otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("t"), site.to("t"));
    source.run("SET sql_mode = ''").await?;
    for row in TYPE_ROWS {
        source.run(&format!("INSERT INTO {from} VALUES ({row})")).await?;
    }
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    source
        .run(&format!("UPDATE {from} a JOIN {from} b ON b.id = 6 - a.id SET a.vc = b.vc, a.d10 = b.d10, a.ts6 = b.ts6"))
        .await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    otter.stop(Duration::from_secs(10)).await?;
    check_topic(&site, "t").await?;
    Ok(())
}

const TYPES: &str = "
  id bigint primary key, t1 tinyint, t2 tinyint unsigned, s1 smallint, s2 smallint unsigned, m1 mediumint, m2 mediumint unsigned,
  i1 int, i2 int unsigned, b1 bigint, b2 bigint unsigned, d10 decimal(10,2), d65 decimal(65,30), d0 decimal(5,0), f float, g double,
  da date, dt datetime, dt3 datetime(3), dt6 datetime(6), ts timestamp null, ts6 timestamp(6) null, ti time, ti6 time(6),
  ch char(10), vc varchar(200), tx text, mt mediumtext, v3 varchar(50) character set utf8mb3, a varchar(20) character set ascii,
  bi binary(6), vb varbinary(300), bl blob, lb longblob, js json, bo boolean";

/// Lows, highs, zeros, nothing at all, and the awkward.
const TYPE_ROWS: [&str; 5] = [
    "1, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, -99999999.99, \
     -99999999999999999999999999999999999.999999999999999999999999999999, -99999, -3.4e38, -1.7e308, \
     '1000-01-01', '1000-01-01 00:00:00', '1000-01-01 00:00:00.001', '1000-01-01 00:00:00.000001', '1970-01-01 00:00:01', \
     '1970-01-01 00:00:01.000001', '-838:59:59', '-838:59:59.999999', '', '', '', '', '', '', '', '', '', '', '{}', false",
    "2, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, \
     99999999.99, 99999999999999999999999999999999999.999999999999999999999999999999, 99999, 3.4e38, 1.7e308, \
     '9999-12-31', '9999-12-31 23:59:59', '9999-12-31 23:59:59.999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07', \
     '2038-01-19 03:14:07.999999', '838:59:59', '838:59:59.999999', '0123456789', REPEAT('é', 200), REPEAT('x', 60000), \
     REPEAT('長', 90000), '漢字', REPEAT('~', 20), X'FFFFFFFFFFFF', REPEAT(X'00FF', 150), REPEAT(X'00', 60000), \
     REPEAT('z', 300000), '{\"a\": [1, \"é\"]}', true",
    "3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    "4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '1969-12-31', '1969-12-31 23:59:59', '1969-12-31 23:59:59.999', \
     '1969-12-31 23:59:59.999999', '2001-09-09 01:46:40', '2001-09-09 01:46:40.100000', '00:00:00', '-00:00:00.000001', \
     'é  ', ' a ', '\\0', '😀', 'ÿ', ' ', X'000100', X'00', X'', X'00', '[]', true",
    "5, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -0.01, 0.000000000000000000000000000001, -1, 0.1, 0.1, '2024-02-29', \
     '2024-02-29 12:34:56', '2024-02-29 12:34:56.120', '2024-02-29 12:34:56.123456', '2024-02-29 12:34:56', \
     '2024-02-29 12:34:56.123450', '-00:00:01', '12:34:56.7', '中文', 'O''Neil \\\\ \"q\" \\n', 'a', 'b', 'c', 'd', 'abc', 'abc  ', \
     'abc', '', 'null', false",
];

#[tokio::test]
async fn keys_that_collide_for_a_moment_end_right() -> Result<()> {
    let site = Site::new("keys", Servers::shared()?).await?;
    site.create("words", "words", "word varchar(20) primary key, place int unique").await?;
    site.put_all(&[("words", "words")]).await?;
    let otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("words"), site.to("words"));
    for statement in [
        "INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3), ('Straße', 4)",
        "UPDATE t SET word = 'A' WHERE word = 'a'",
        "START TRANSACTION",
        "UPDATE t SET place = NULL WHERE word = 'b'",
        "UPDATE t SET place = 2 WHERE word = 'c'",
        "UPDATE t SET place = 3 WHERE word = 'b'",
        "DELETE FROM t WHERE word = 'A'",
        "INSERT INTO t VALUES ('a', 1)",
        "COMMIT",
        "DELETE FROM t WHERE word = 'straße'",
        "INSERT INTO t VALUES ('STRASSE', 4)",
    ] {
        source.run(&statement.replace(" t ", &format!(" {from} "))).await?;
    }
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn documents_and_status_through_the_cli() -> Result<()> {
    let site = Site::new("cli", Servers::shared()?).await?;
    site.create("tb_user", "tb_user2", TB_USER).await?;
    site.create("more", "more", TB_USER).await?;
    site.put_all(&[("tb_user", "tb_user2")]).await?;
    let mut otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("tb_user"), site.to("tb_user2"));
    source.run(&format!("INSERT INTO {from} (username) VALUES ('one')")).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    let done = site.otter(&["pause", "pipeline", &site.name]).await?;
    ensure!(done.code == Some(0), "{done:?}");
    let paused = |status: &schemas::status::WorkerStatus| {
        status.pipelines.iter().any(|p| p.state == schemas::status::PipelineState::Paused).then_some(())
    };
    otter.wait_status("paused", SOON, paused).await?;
    source.run(&format!("INSERT INTO {from} (username) VALUES ('two')")).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('other')", site.from("more"))).await?;
    // a mapping is added while the pipeline is paused; it takes its table from the beginning of the topic
    site.put(&[&site.pipeline_document(&[("tb_user", "tb_user2"), ("more", "more")])]).await?;
    // A put that says nothing of the state leaves it: paused.
    let resumed = site.otter(&["resume", "pipeline", &site.name]).await?;
    ensure!(resumed.code == Some(0), "{resumed:?}");
    wait_equal((&mut source, &site.from("more")), (&mut target, &site.to("more")), SOON).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    let status = wait_for("the status of both lanes", SOON, async || {
        let done = site.otter(&["status", "--output", "json"]).await.map_err(|error| format!("{error:#}"))?;
        let fits = done.code == Some(0)
            && [&site.topic("tb_user"), &site.topic("more")].iter().all(|t| done.stdout.contains(*t));
        if fits { Ok(done.stdout) } else { Err(format!("{done:?}")) }
    })
    .await?;
    let _: serde_json::Value = serde_json::from_str(&status)?;
    for arguments in [&["get", "pipeline", &site.name][..], &["check"], &["config", "show"], &["status"]] {
        let done = site.otter(arguments).await?;
        ensure!(done.code == Some(0) && !done.stdout.is_empty(), "{arguments:?}: {done:?}");
    }
    otter.stop(Duration::from_secs(10)).await
}
