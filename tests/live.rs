//! Documents that change while rows flow: what is put takes effect soon, and only where it is meant to.

use crate::harness::database::wait_equal;
use crate::harness::site::TB_USER;
use crate::harness::{Database, Load, Otter, Result, Servers, Site, Strain, ensure, seed, wait_for};
use schemas::documents::Document;
use schemas::kafka::KafkaOptions;
use schemas::status::{LaneState, LaneStatus, WorkerStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(60);
/// Within this time a document that was put takes effect, and a new table's first row arrives.
const EFFECT: Duration = Duration::from_secs(2);
/// The longest that another table may stand still meanwhile.
const GAP: Duration = Duration::from_secs(1);

/// Single rows into a table without a pause, and the longest time that the target showed none of them.
struct Traffic {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<Result<()>>,
    watcher: JoinHandle<Result<Duration>>,
}

impl Traffic {
    /// Begins; the table must be flowing already.
    async fn start(site: &Site, from: &str, to: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut source, mut target) = (site.source().await?, site.target().await?);
        let insert = format!("INSERT INTO {} (username) VALUES ('traffic')", site.from(from));
        let count = format!("SELECT COUNT(*) FROM {}", site.to(to));
        let (ended, watched) = (Arc::clone(&stop), Arc::clone(&stop));
        let writer = tokio::spawn(async move {
            while !ended.load(Ordering::Relaxed) {
                source.run(&insert).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        let watcher = tokio::spawn(async move {
            let (mut seen, mut since, mut longest) = (0_u64, Instant::now(), Duration::ZERO);
            while !watched.load(Ordering::Relaxed) {
                let now: u64 = target.row(&count).await?;
                if now != seen {
                    longest = longest.max(since.elapsed());
                    (seen, since) = (now, Instant::now());
                }
                tokio::task::yield_now().await;
            }
            Ok(longest.max(since.elapsed()))
        });
        Ok(Self { stop, writer, watcher })
    }

    /// Ends; the longest gap.
    async fn end(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.await??;
        self.watcher.await?
    }
}

/// A pipeline document with these mappings, written with `S.` and `T.` for the schemas, and more lines.
fn pipeline(site: &Site, mappings: &str, more: &str) -> String {
    let mappings =
        mappings.replace("S.", &format!("{}.", site.name)).replace("T.", &format!("{}.", site.target_schema));
    let name = &site.name;
    format!("kind: pipeline\nname: {name}\nsource: {name}\ntarget: {name}\nmappings: [{mappings}]\n{more}\n")
}

/// Puts a source, a target and a pipeline.
async fn put_all(site: &Site, mappings: &str) -> Result<()> {
    let source = site.source_document().await?;
    site.put(&[&source, &site.target_document(), &pipeline(site, mappings, "")]).await
}

/// Waits for a value and says how long that took.
async fn until(target: &mut Database, what: &str, query: &str, wanted: u64) -> Result<Duration> {
    let since = Instant::now();
    wait_for(what, SOON, async || {
        let seen: Option<u64> = target.maybe_row(query).await.map_err(|e| format!("{e:#}"))?;
        if seen == Some(wanted) { Ok(()) } else { Err(format!("{seen:?}, not {wanted}")) }
    })
    .await?;
    Ok(since.elapsed())
}

fn lane<'a>(status: &'a WorkerStatus, topic: &str) -> Option<&'a LaneStatus> {
    status.pipelines.iter().flat_map(|p| &p.lanes).find(|lane| lane.topic == topic)
}

/// The token in a table's progress row: it changes with every claim.
async fn owner(target: &mut Database, site: &Site, table: &str) -> Result<String> {
    let query = format!("SELECT owner FROM {} WHERE topic = '{}'", site.to("progress"), site.topic(table));
    target.row(&query).await
}

#[tokio::test]
async fn what_is_put_takes_effect_soon_and_other_tables_do_not_notice() -> Result<()> {
    let site = Site::new("live", Servers::shared()?).await?;
    for table in ["busy", "calm", "fresh"] {
        site.create(table, table, TB_USER).await?;
    }
    put_all(&site, "{from: S.busy, to: T.busy}").await?;
    let mut otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    source.run(&format!("INSERT INTO {} (username) VALUES ('one')", site.from("busy"))).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('early')", site.from("calm"))).await?;
    wait_equal((&mut source, &site.from("busy")), (&mut target, &site.to("busy")), SOON).await?;
    let token = owner(&mut target, &site, "busy").await?;
    let strain = Strain::begin();
    let traffic = Traffic::start(&site, "busy", "busy").await?;

    let calm = format!("SELECT COUNT(*) FROM {}", site.to("calm"));
    let two = "{from: S.busy, to: T.busy}, {from: S.calm, to: T.calm}";
    site.put(&[&pipeline(&site, two, "")]).await?;
    let added = until(&mut target, "the rows of a mapping that was added", &calm, 1).await?;

    let three = format!("{two}, {{from: S.fresh, to: T.fresh}}");
    site.put(&[&pipeline(&site, &three, "")]).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('first')", site.from("fresh"))).await?;
    let fresh = format!("SELECT COUNT(*) FROM {}", site.to("fresh"));
    let made = until(&mut target, "the first row of a table", &fresh, 1).await?;

    let calms = owner(&mut target, &site, "calm").await?;
    let slow = three.replace("T.calm}", "T.calm, batch: {rows: 7}, missing_row: ignore}");
    site.put(&[&pipeline(&site, &slow, "")]).await?;
    let since = Instant::now();
    wait_for("the changed table to claim again", SOON, async || {
        let now = owner(&mut target, &site, "calm").await.map_err(|e| format!("{e:#}"))?;
        if now == calms { Err("the same token".to_owned()) } else { Ok(()) }
    })
    .await?;
    let changed = since.elapsed();
    site.put(&[&pipeline(&site, &slow, "apply: {writers: 2}")]).await?;

    let held = slow.replace("T.calm,", "T.calm, state: paused,");
    site.put(&[&pipeline(&site, &held, "")]).await?;
    let topic = site.topic("calm");
    let paused = |s: &WorkerStatus| lane(s, &topic).filter(|l| l.state == LaneState::Paused).map(|_| ());
    otter.wait_status("one table paused", SOON, paused).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('held')", site.from("calm"))).await?;
    // Without a state the put leaves it as it is.
    site.put(&[&pipeline(&site, &slow, "apply: {writers: 3}")]).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('second')", site.from("fresh"))).await?;
    until(&mut target, "a row of a table that runs", &fresh, 2).await?;
    let held: u64 = target.row(&calm).await?;
    ensure!(held == 1, "the table that is paused has {held} rows");
    site.put(&[&pipeline(&site, &slow.replace("T.calm,", "T.calm, state: running,"), "")]).await?;
    let resumed = until(&mut target, "the row of the table that runs again", &calm, 2).await?;

    site.put(&[&pipeline(&site, &three.replace(", {from: S.calm, to: T.calm}", ""), "")]).await?;
    otter.wait_status("the mapping is gone", SOON, |s| lane(s, &topic).is_none().then_some(())).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('meanwhile')", site.from("calm"))).await?;
    site.put(&[&pipeline(&site, &three, "")]).await?;
    let again = until(&mut target, "the rows of a mapping that is there again", &calm, 3).await?;

    let gap = traffic.end().await?;
    println!(
        "put to effect: mapping added {added:?}, first row of a table {made:?}, settings {changed:?}, resumed {resumed:?}, \
         mapping added again {again:?}; longest gap of the busy table {gap:?}; strain {:.1}",
        strain.mean()
    );
    for (what, took) in [("added", added), ("made", made), ("changed", changed), ("resumed", resumed), ("again", again)]
    {
        ensure!(took < strain.stretched(EFFECT), "{what} took {took:?}");
    }
    ensure!(gap < strain.stretched(GAP), "the busy table stood still for {gap:?}");
    ensure!(owner(&mut target, &site, "busy").await? == token, "the busy table's lane claimed again");
    for table in ["busy", "calm", "fresh"] {
        wait_equal((&mut source, &site.from(table)), (&mut target, &site.to(table)), SOON).await?;
    }
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn tables_made_later_go_by_their_pattern() -> Result<()> {
    let site = Site::new("wild", Servers::shared()?).await?;
    for table in ["t_1", "t_2", "named", "other"] {
        site.source().await?.run(&format!("CREATE TABLE {} ({TB_USER})", site.from(table))).await?;
    }
    for table in ["t_1_copy", "t_2_copy", "t_9_copy"] {
        site.target().await?.run(&format!("CREATE TABLE {} ({TB_USER})", site.to(table))).await?;
    }
    put_all(&site, "{from: 'S.t_*', to: 'T.{table}_copy'}, {from: S.named, to: T.t_9_copy}").await?;
    let mut otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    for table in ["t_1", "named", "other"] {
        source.run(&format!("INSERT INTO {} (username) VALUES ('one')", site.from(table))).await?;
    }
    wait_equal((&mut source, &site.from("t_1")), (&mut target, &site.to("t_1_copy")), SOON).await?;
    wait_equal((&mut source, &site.from("named")), (&mut target, &site.to("t_9_copy")), SOON).await?;

    let strain = Strain::begin();
    source.run(&format!("INSERT INTO {} (username) VALUES ('later')", site.from("t_2"))).await?;
    let count = format!("SELECT COUNT(*) FROM {}", site.to("t_2_copy"));
    let took = until(&mut target, "the first row of a table made later", &count, 1).await?;
    println!("commit to visible, first row of a table that a pattern matches: {took:?}");
    ensure!(took < strain.stretched(EFFECT), "it took {took:?}");

    // Its target is another table's: it pauses when it appears, and the others go on.
    source.run(&format!("CREATE TABLE {} ({TB_USER})", site.from("t_9"))).await?;
    source.run(&format!("INSERT INTO {} (username) VALUES ('wrong')", site.from("t_9"))).await?;
    let refused = |s: &WorkerStatus| {
        let lane = lane(s, &site.topic("t_9"))?;
        lane.error.as_ref().filter(|e| lane.state == LaneState::Paused && e.code == "OT1032").map(|e| e.message.clone())
    };
    let message = otter.wait_status("the table paused", SOON, refused).await?;
    ensure!(message.contains("t_9_copy") && message.contains(&site.from("named")), "{message}");
    for table in ["t_1", "named"] {
        source.run(&format!("INSERT INTO {} (username) VALUES ('more')", site.from(table))).await?;
    }
    wait_equal((&mut source, &site.from("t_1")), (&mut target, &site.to("t_1_copy")), SOON).await?;
    wait_equal((&mut source, &site.from("named")), (&mut target, &site.to("t_9_copy")), SOON).await?;
    otter
        .wait_status("no lane of a table without mapping", SOON, |s| {
            lane(s, &site.topic("other")).is_none().then_some(())
        })
        .await?;

    for (mappings, code) in [
        ("{from: 'S.t_*', to: 'T.{table}'}, {from: 'S.*_1', to: 'T.{table}'}", "OT1001"),
        ("{from: 'S.x_[0-9]', to: T.all, columns: {set: {place: '{schema}'}}}", "OT1032"),
        ("{from: 'S.t_*', to: 'T.{table}_other'}, {from: S.named, to: T.t_9_copy}", "OT1033"),
    ] {
        let done = site.try_put(&[&pipeline(&site, mappings, "")]).await?;
        ensure!(done.code == Some(1) && done.stderr.contains(code), "{mappings}: {done:?}");
    }
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn all_targets_of_a_list_are_equal_after_kills() -> Result<()> {
    let site = Site::new("list", Servers::shared()?).await?;
    let columns = crate::harness::load::COLUMNS;
    site.create("t", "one", columns).await?;
    site.target().await?.run(&format!("CREATE TABLE {} ({columns})", site.to("two"))).await?;
    put_all(&site, "{from: S.t, to: [T.one, T.two]}").await?;
    let capture = site.start("capture").await?;
    let mut apply = site.start("apply").await?;
    let mut load = Load::new(&site, "t", seed(), 1).await?;
    let mut target = site.target().await?;
    for _ in 0..3 {
        load.write(2_000).await?;
        let some = format!("SELECT COUNT(*) > 0 FROM {}", site.to("two"));
        until(&mut target, "rows at the second target", &some, 1).await?;
        load.write(1_000).await?;
        apply.kill().await?;
        let counts: (u64, u64) = target
            .row(&format!(
                "SELECT (SELECT COUNT(*) FROM {}), (SELECT COUNT(*) FROM {})",
                site.to("one"),
                site.to("two")
            ))
            .await?;
        ensure!(counts.0 == counts.1, "killed, the targets differ: {counts:?}");
        apply = site.start("apply").await?;
    }
    let mut source = site.source().await?;
    for table in ["one", "two"] {
        wait_equal((&mut source, &site.from("t")), (&mut target, &site.to(table)), SOON).await?;
    }
    apply.stop(Duration::from_secs(10)).await?;
    capture.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn what_is_deleted_resumes_and_what_is_purged_begins_anew() -> Result<()> {
    let site = Site::new("again", Servers::shared()?).await?;
    site.create("t", "t", TB_USER).await?;
    put_all(&site, "{from: S.t, to: T.t}").await?;
    let mut otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let (from, to) = (site.from("t"), site.to("t"));
    let insert = format!("INSERT INTO {from} (username) VALUES ('a'), ('b')");
    source.run(&insert).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    delete(&site, &mut otter).await?;
    source.run(&insert).await?;
    site.put(&[&pipeline(&site, "{from: S.t, to: T.t}", "")]).await?;
    // Begun anew it would meet its own rows and pause.
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;

    delete(&site, &mut otter).await?;
    // As root, whose password nobody needs to know.
    let document = site.target_document().replace("user: otter\npassword: env:OTTER_TEST_PASSWORD", "user: root");
    let Some(Document::Target(report)) = Document::parse_all(&document)?.pop() else { anyhow::bail!("no target") };
    ensure!(apply::standing(&report, &site.name).await? == 1, "a table has progress");
    let kafka = KafkaOptions { brokers: site.servers.kafka.clone(), client: Default::default() };
    let purged = apply::purge(&site.name, &kafka, &report, &site.name).await?;
    ensure!(purged == apply::Purged { progress: 1, group: true }, "{purged:?}");
    ensure!(apply::standing(&report, &site.name).await? == 0, "nothing is left");
    ensure!(apply::purge(&site.name, &kafka, &report, &site.name).await? == apply::Purged::default(), "twice");
    target.run(&format!("TRUNCATE TABLE {to}")).await?;
    site.put(&[&pipeline(&site, "{from: S.t, to: T.t}", "")]).await?;
    wait_equal((&mut source, &from), (&mut target, &to), SOON).await?;
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn another_target_begins_at_the_start_of_its_mapping() -> Result<()> {
    let site = Site::new("moved", Servers::shared()?).await?;
    site.create("t", "one", TB_USER).await?;
    site.target().await?.run(&format!("CREATE TABLE {} ({TB_USER})", site.to("two"))).await?;
    put_all(&site, "{from: S.t, to: T.one}").await?;
    let mut otter = site.start("run").await?;
    let (mut source, mut target) = (site.source().await?, site.target().await?);
    let insert = format!("INSERT INTO {} (username) VALUES ('a'), ('b')", site.from("t"));
    source.run(&insert).await?;
    wait_equal((&mut source, &site.from("t")), (&mut target, &site.to("one")), SOON).await?;

    let refused = site.try_put(&[&pipeline(&site, "{from: S.t, to: T.two}", "")]).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("OT1033"), "{refused:?}");
    site.put(&[&pipeline(&site, "{from: S.t, to: T.two, start: earliest}", "")]).await?;
    wait_equal((&mut source, &site.from("t")), (&mut target, &site.to("two")), SOON).await?;

    // Around the put's own look: taken out, then added with another target.
    site.create("u", "u", TB_USER).await?;
    site.put(&[&pipeline(&site, "{from: S.u, to: T.u}", "")]).await?;
    site.put(&[&pipeline(&site, "{from: S.u, to: T.u}, {from: S.t, to: T.one}", "")]).await?;
    let paused = |s: &WorkerStatus| {
        let lane = lane(s, &site.topic("t"))?;
        lane.error.as_ref().filter(|e| lane.state == LaneState::Paused && e.code == "OT1033").map(|_| ())
    };
    otter.wait_status("the lane paused without a start", SOON, paused).await?;
    source.run(&insert).await?;
    site.put(&[&pipeline(&site, "{from: S.u, to: T.u}", "")]).await?;
    site.put(&[&pipeline(&site, "{from: S.u, to: T.u}, {from: S.t, to: T.two}", "")]).await?;
    wait_equal((&mut source, &site.from("t")), (&mut target, &site.to("two")), SOON).await?;
    otter.stop(Duration::from_secs(10)).await
}

#[tokio::test]
async fn a_purged_source_counts_on() -> Result<()> {
    let site = Site::new("purge", Servers::shared()?).await?;
    site.create("t", "t", TB_USER).await?;
    let source_document = site.source_document().await?;
    site.put(&[&source_document]).await?;
    let mut otter = site.start("capture").await?;
    let mut source = site.source().await?;
    let ordinal = |s: &WorkerStatus| s.sources.first().map(|s| s.ordinal).filter(|o| *o > 1);
    source.run(&format!("INSERT INTO {} (username) VALUES ('a')", site.from("t"))).await?;
    let before = otter.wait_status("rows published", SOON, |s| ordinal(s).filter(|_| s.sources[0].rows > 0)).await?;
    let done = site.otter(&["delete", "source", &site.name]).await?;
    ensure!(done.code == Some(0), "{done:?}");
    otter.wait_status("the source gone", SOON, |s| s.sources.is_empty().then_some(())).await?;
    let coordination = site.coordination().await?;
    let kafka = KafkaOptions { brokers: site.servers.kafka.clone(), client: Default::default() };
    let purged = capture::purge(&site.name, &kafka, &coordination, &site.name).await?;
    ensure!(purged.as_ref().is_some_and(|c| c.ordinal >= before && c.generation == 0), "{purged:?}");
    ensure!(coordination.read_position(&site.name).await?.is_none(), "the mirror is gone");
    // It begins at its start again, with higher numbers and a generation that tells.
    site.put(&[&source_document]).await?;
    let again = otter.wait_status("published again", SOON, |s| ordinal(s).filter(|_| s.sources[0].rows > 0)).await?;
    ensure!(again > before, "ordinal {again} after {before}");
    let mirrored = wait_for("the mirror of the new generation", SOON, async || {
        let found = coordination.read_position(&site.name).await.map_err(|e| e.to_string())?;
        found.filter(|c| c.generation == 1).ok_or_else(|| "no mirror of generation 1".to_owned())
    });
    ensure!(mirrored.await?.ordinal >= before, "the ordinals go on");
    otter.stop(Duration::from_secs(10)).await
}

/// Deletes the pipeline and waits until its lanes have ended.
async fn delete(site: &Site, otter: &mut Otter) -> Result<()> {
    let done = site.otter(&["delete", "pipeline", &site.name]).await?;
    ensure!(done.code == Some(0), "{done:?}");
    otter.wait_status("the pipeline gone", SOON, |s| s.pipelines.is_empty().then_some(())).await
}
