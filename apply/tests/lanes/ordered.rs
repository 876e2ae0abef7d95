//! Tables that keep their order among each other, under the foreign keys of the target.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::frozen::Process;
use crate::world::Change::{Delete, Insert, Update};
use crate::world::{Row, Worker, World};

const ORDERED: &str = "apply: {foreign_keys: ordered}";

/// The second table's rows belong to rows of the first.
async fn with_key(world: &mut World) {
    let schema = world.schema();
    world
        .run(&format!(
            "ALTER TABLE `{schema}`.tb_user2_1 ADD FOREIGN KEY (id) REFERENCES `{schema}`.tb_user2 (id) ON DELETE CASCADE"
        ))
        .await;
}

/// Looks for children without parents, which a table whose keys are not checked would show, until the end.
fn watch(world: &World, target: &str) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let (schema, address) = (world.schema(), std::env::var(target).expect("a target"));
    let end = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&end);
    let watching = tokio::spawn(async move {
        let mut connection = mysql_async::Conn::from_url(format!("mysql://root@{address}/")).await.expect("connected");
        let mut looks = 0;
        while !ended.load(Ordering::Relaxed) {
            let sql = format!(
                "SELECT COUNT(*) FROM `{schema}`.tb_user2_1 c LEFT JOIN `{schema}`.tb_user2 p ON p.id = c.id WHERE p.id IS NULL"
            );
            let alone: Option<u64> =
                mysql_async::prelude::Queryable::query_first(&mut connection, sql).await.expect("a count");
            assert_eq!(alone, Some(0), "children without parents");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        looks
    });
    (end, watching)
}

async fn families(test: &str, target: &str) {
    let mut world = World::with_tables_on(test, 2, target).await;
    with_key(&mut world).await;
    world.pipeline(ORDERED).await;
    let (end, watching) = watch(&world, target);
    // Much is there before the first worker comes: all parents' topic could be read before the children's, or after.
    let mut rows: Vec<Row> = Vec::new();
    for id in 0..40 {
        world.publish_to(0, &[Insert((id, "p"))]);
        world.publish_to(1, &[Insert((id, "p"))]);
        rows.push((id, "p"));
    }
    let mut workers = vec![Process::start(&world.name), Process::start(&world.name)];
    world.wait_for_rows_of(1, &rows).await;
    for round in 0..3 {
        for id in 0..10 {
            // The cascade at the source is not in its binlog: the target's takes the child, once.
            world.publish_to(0, &[Delete((id, "p"))]);
            world.publish_to(0, &[Insert((id, "p"))]);
            world.publish_to(1, &[Insert((id, "p"))]);
            world.publish_to(1, &[Update((id + 20, "p"), (id + 20, "q"))]);
            world.publish_to(1, &[Update((id + 20, "q"), (id + 20, "p"))]);
        }
        // One of the two leads.
        workers[round % 2] = Process::start(&world.name);
    }
    let last = [Delete((39, "p"))];
    world.publish_to(0, &last);
    rows.pop();
    world.wait_for_rows_of(0, &rows).await;
    world.wait_for_rows_of(1, &rows).await;
    end.store(true, Ordering::Relaxed);
    assert!(watching.await.expect("no child was alone") > 0);
    drop(workers);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_never_comes_before_its_parent_on_mariadb() {
    families("families", "OTTER_SERVERS_TARGET").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_never_comes_before_its_parent_on_mysql() {
    families("families8", "OTTER_SERVERS_MYSQL_TARGET").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_comes_later_joins_the_others() {
    let mut world = World::without_topics("later", 2).await;
    with_key(&mut world).await;
    let (parents, children) = (world.topic.clone(), format!("{}_1", world.topic));
    world.create_topic(&parents, 1).await;
    world.pipeline(ORDERED).await;
    let worker = Worker::start(&world.name).await;
    world.publish_to(0, &[Insert((1, "a"))]);
    world.wait_for_rows_of(0, &[(1, "a")]).await;
    world.create_topic(&children, 1).await;
    world.publish_to(0, &[Insert((2, "b"))]);
    world.publish_to(1, &[Insert((2, "b"))]);
    world.publish_to(0, &[Delete((2, "b"))]);
    world.publish_to(1, &[Insert((1, "a"))]);
    world.wait_for_rows_of(1, &[(1, "a")]).await;
    world.wait_for_rows_of(0, &[(1, "a")]).await;
    worker.stop().await;
    world.end().await;
}
