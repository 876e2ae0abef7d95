//! What the same machine does without Otter, measured in the same run: the floor that each figure is held against.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use mysql_async::{BinlogStreamRequest, Conn, Params, Value, prelude::*};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::report::Measure;
use crate::servers::Servers;
use crate::workload::{Stretch, create_table};

/// Rows of a statement and of a transaction in the client loop: the best shape found for this table.
const STATEMENT_ROWS: u64 = 1000;
const TRANSACTION_ROWS: u64 = 10_000;

/// Reads the records of `topic` into memory, checks that there are `rows` of them, and times how fast a plain
/// idempotent producer with Otter's settings sends them to a fresh topic.
pub(crate) async fn produce(servers: &Servers, topic: &str, rows: u64, run: usize) -> Result<Measure> {
    let records = read(servers, topic, rows)?;
    let copy = format!("{topic}.copy{run}");
    create_topic(servers, &copy).await?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &servers.kafka)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("compression.type", "lz4")
        .create()?;
    let started = Instant::now();
    for (key, value) in &records {
        let mut record = BaseRecord::to(&copy).partition(0).key(key).payload(value);
        while let Err((error, back)) = producer.send(record) {
            ensure!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "produce: {error}");
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::ZERO);
    }
    Ok(Measure::rate(rows, started.elapsed().as_secs_f64()))
}

type Record = (Vec<u8>, Vec<u8>);

/// All committed records of partition 0.
fn read(servers: &Servers, topic: &str, rows: u64) -> Result<Vec<Record>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &servers.kafka)
        .set("group.id", "bench-read")
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&list)?;
    let mut records = Vec::new();
    loop {
        match consumer.poll(Duration::from_secs(10)).context("the topic could not be read within 10 s")? {
            Ok(message) => records.push((
                message.key().unwrap_or_default().to_vec(),
                message.payload().context("an event without a value")?.to_vec(),
            )),
            Err(KafkaError::PartitionEOF(_)) if records.len() as u64 >= rows => break,
            Err(KafkaError::PartitionEOF(_)) => {} // the last transaction is still being committed
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(records.len() as u64 == rows, "{topic} holds {} events for {rows} changed rows", records.len());
    Ok(records)
}

async fn create_topic(servers: &Servers, name: &str) -> Result<()> {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &servers.kafka).create()?;
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
        result.map_err(|(name, code)| anyhow::anyhow!("{name}: {code}"))?;
    }
    Ok(())
}

/// Times the fastest loop known for this table that does nothing but insert: bulk statements over one connection
/// and over two, the better of both.
pub(crate) async fn client_loop(servers: &Servers, rows: u64) -> Result<Measure> {
    let mut best: f64 = 0.0;
    for connections in [1, 2] {
        let mut conn = Servers::connect(&servers.target).await?;
        conn.query_drop("DROP DATABASE IF EXISTS bench_loop").await?;
        conn.query_drop("CREATE DATABASE bench_loop").await?;
        conn.query_drop(create_table("bench_loop", "tb_user2")).await?;
        let started = Instant::now();
        let each = rows / connections;
        let tasks: Vec<_> = (0..connections)
            .map(|n| {
                let options = Servers::options(&servers.target);
                tokio::spawn(async move { insert_range(Conn::new(options?).await?, n * each, each).await })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let seconds = started.elapsed().as_secs_f64();
        let count: Option<u64> = conn.query_first("SELECT COUNT(*) FROM bench_loop.tb_user2").await?;
        ensure!(count == Some(each * connections), "the client loop inserted {count:?} rows");
        best = best.max((each * connections) as f64 / seconds);
    }
    Ok(Measure(std::collections::BTreeMap::from([("rows/s", best)])))
}

async fn insert_range(mut conn: Conn, first: u64, rows: u64) -> Result<()> {
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
    let statement = conn
        .prep(
            "INSERT INTO bench_loop.tb_user2 (id, username, age, email, created_time, modified_time, is_deleted)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .await?;
    let mut id = first;
    while id < first + rows {
        let mut transaction = conn.start_transaction(mysql_async::TxOpts::default()).await?;
        let end = (id + TRANSACTION_ROWS).min(first + rows);
        while id < end {
            let to = (id + STATEMENT_ROWS).min(end);
            transaction.exec_batch(&statement, (id..to).map(row)).await?;
            id = to;
        }
        transaction.commit().await?;
    }
    conn.disconnect().await?;
    Ok(())
}

fn row(id: u64) -> Params {
    let time = Value::Date(2026, 11, 22, 10, 11, 12, 0);
    Params::Positional(vec![
        Value::UInt(id + 1),
        Value::Bytes(format!("user{id}").into_bytes()),
        Value::Int(i64::try_from(id % 90).unwrap_or(0)),
        Value::Bytes(format!("user{id}@example.org").into_bytes()),
        time.clone(),
        time,
        Value::Int(0),
    ])
}

/// Reads the stretch's binlog events and only counts them: transactions (GTID events, type 0xa2) a second. The stream ends with the server's
/// last event, as the dump does not wait.
pub(crate) async fn stream(servers: &Servers, stretch: &Stretch) -> Result<Measure> {
    let mut conn = Servers::connect(&servers.source).await?;
    for statement in [
        "SET @mariadb_slave_capability = 4".to_owned(),
        format!("SET @slave_connect_state = '{}'", stretch.start),
        "SET @master_binlog_checksum = 'CRC32'".to_owned(),
    ] {
        conn.query_drop(statement).await?;
    }
    let started = Instant::now();
    let mut events = conn.get_binlog_stream(BinlogStreamRequest::new(4_000_000)).await?;
    let mut transactions = 0;
    while transactions < stretch.rows {
        let event = events.next().await.context("the stream ended early")??;
        if event.header().event_type_raw() == 0xa2 {
            transactions += 1;
        }
    }
    Ok(Measure::rate(transactions, started.elapsed().as_secs_f64()))
}
