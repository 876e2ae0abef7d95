//! A world of its own for each test: a cluster name, a topic, a target schema, a capture that writes what the test says.
//!
//! The servers are shared and named by `OTTER_SERVERS_…`. Waiting means asking for a condition until a deadline; the
//! last state seen is part of the failure.

mod publish;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use apply::{Apply, Context, Options};
use coordination::{Coordination, Expected};
use mysql_async::prelude::Queryable;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use schemas::barrier::{Barrier, BarrierKind};
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::documents::Document;
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SchemaIds, SourceBlock, SourceFacts};
use schemas::kafka::KafkaOptions;
use schemas::status::{LaneState, LaneStatus, StatusBoard, WorkerFacts};
use schemas::table::{Column, ColumnType, TableName, TableStructure};
use tokio_util::sync::CancellationToken;

use crate::quiet::Presence;

/// The variables that name the targets.
pub(crate) const MARIADB: &str = "OTTER_SERVERS_TARGET";
pub(crate) const MYSQL: &str = "OTTER_SERVERS_MYSQL_TARGET";

/// How long a condition may take: longer than anything does on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A row of the test's table.
pub(crate) type Row = (i32, &'static str);

/// A change of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Insert(Row),
    Update(Row, Row),
    Delete(Row),
}

fn address(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; ./deploy/test starts the servers and sets it"))
}

/// A progress row: next offset, ordinal, and the ordinal in front of which the lane stands.
pub(crate) type Standing = (i64, i64, Option<i64>);

/// A table that goes to the target; `tb_user` to `tb_user2`, the others to `tb_user2_1` and so on.
struct Table {
    name: TableName,
    topic: String,
    encoder: EventEncoder,
}

fn from(at: usize) -> TableName {
    TableName::new("shop", if at == 0 { "tb_user".to_owned() } else { format!("tb_user_{at}") })
}

fn to(at: usize) -> String {
    if at == 0 { "tb_user2".to_owned() } else { format!("tb_user2_{at}") }
}

/// The test's surroundings.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) topic: String,
    pub(crate) coordination: Coordination,
    kafka: String,
    target: String,
    connection: mysql_async::Conn,
    producer: BaseProducer,
    tables: Vec<Table>,
    ordinal: i64,
    transactions: u64,
    pub(crate) generation: i32,
    _presence: Presence,
}

impl World {
    /// Makes documents, topic and target table, all named after the test.
    pub(crate) async fn new(test: &str) -> Self {
        Self::with_tables(test, 1).await
    }

    /// The same with several tables.
    pub(crate) async fn with_tables(test: &str, count: usize) -> Self {
        Self::with_tables_on(test, count, MARIADB).await
    }

    /// The same on the target that a variable names.
    pub(crate) async fn with_tables_on(test: &str, count: usize, target: &str) -> Self {
        let world = Self::without_topics_on(test, count, target).await;
        for table in &world.tables {
            world.create_topic(&table.topic, 1).await;
        }
        world
    }

    /// The same with one table and several partitions; see [`World::publish_at`].
    pub(crate) async fn with_partitions(test: &str, partitions: i32) -> Self {
        Self::with_partitions_on(test, partitions, MARIADB).await
    }

    /// The same on the target that a variable names.
    pub(crate) async fn with_partitions_on(test: &str, partitions: i32, target: &str) -> Self {
        let world = Self::without_topics_on(test, 1, target).await;
        world.create_topic(&world.topic, partitions).await;
        world
    }

    /// The same with tables whose topics have so many partitions each; see [`World::publish_to_all_partitions`].
    pub(crate) async fn with_tables_of(test: &str, partitions: &[i32]) -> Self {
        let world = Self::without_topics(test, partitions.len()).await;
        for (table, partitions) in world.tables.iter().zip(partitions) {
            world.create_topic(&table.topic, *partitions).await;
        }
        world
    }

    /// The same without the topics.
    pub(crate) async fn without_topics(test: &str, count: usize) -> Self {
        Self::without_topics_on(test, count, MARIADB).await
    }

    async fn without_topics_on(test: &str, count: usize, target: &str) -> Self {
        let presence = Presence::enter().await;
        let name = format!("{test}-{:08x}", rand::random::<u32>());
        let (kafka, target) = (address("OTTER_SERVERS_KAFKA"), address(target));
        let coordination = connect(&name).await;
        let mut tables = Vec::new();
        for at in 0..count {
            tables.push(table(&coordination, &name, from(at)).await);
        }
        let topic = tables[0].topic.clone();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &kafka).set("transactional.id", &name).set("linger.ms", "0");
        let producer: BaseProducer = config.create().expect("producer");
        producer.init_transactions(Duration::from_secs(20)).expect("init_transactions");
        let url = format!("mysql://root@{target}/");
        let connection = mysql_async::Conn::from_url(url).await.expect("the target");
        let mut world = Self {
            name,
            topic,
            coordination,
            kafka,
            target,
            connection,
            producer,
            tables,
            ordinal: 0,
            transactions: 0,
            generation: 0,
            _presence: presence,
        };
        let schema = world.schema();
        world.run(&format!("CREATE DATABASE `{schema}`")).await;
        for at in 0..count {
            let to = to(at);
            world.run(&format!("CREATE TABLE `{schema}`.{to} (id int PRIMARY KEY, name varchar(200))")).await;
        }
        let user = world.user();
        world.run(&format!("CREATE USER {user}@'%' IDENTIFIED BY 'secret'")).await;
        world.run(&format!("GRANT ALL ON `{schema}`.* TO {user}@'%'")).await;
        world.put_source_and_target().await;
        world
    }

    /// The user by which apply writes: one of the test's own, so that its connections can be told from others'.
    pub(crate) fn user(&self) -> String {
        format!("lanes_{}", self.name.rsplit('-').next().expect("a suffix"))
    }

    /// The schema of the target table and of the progress table.
    pub(crate) fn schema(&self) -> String {
        self.name.replace('-', "_")
    }

    pub(crate) async fn create_topic(&self, topic: &str, partitions: i32) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().expect("admin");
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let made = admin.create_topics(&[new], &options).await.expect("create");
        made[0].as_ref().expect("created");
        wait_for("the topic is there", || async {
            let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(5));
            let count = metadata.map(|m| m.topics()[0].partitions().iter().filter(|p| p.leader() >= 0).count());
            if matches!(count, Ok(n) if n == partitions as usize) { Ok(()) } else { Err(format!("{count:?}")) }
        })
        .await;
    }

    /// Creates topics of one partition, and does not wait until they can be used.
    pub(crate) async fn create_topics(&self, names: &[String]) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().expect("admin");
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(60)));
        for names in names.chunks(100) {
            let new: Vec<_> = names.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1))).collect();
            let made = admin.create_topics(&new, &options).await.expect("create");
            assert!(made.iter().all(Result::is_ok), "{made:?}");
        }
    }

    /// How long the list of all topics takes, on average.
    pub(crate) fn time_to_list(&self) -> Duration {
        let began = Instant::now();
        for _ in 0..20 {
            self.producer.client().fetch_metadata(None, Duration::from_secs(10)).expect("the topics");
        }
        began.elapsed() / 20
    }

    pub(crate) async fn delete_topic(&self) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().expect("admin");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        admin.delete_topics(&[&self.topic], &options).await.expect("delete")[0].as_ref().expect("deleted");
        wait_for("the topic is gone", || async {
            let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(5)).expect("metadata");
            if metadata.topics().iter().any(|t| t.name() == self.topic) { Err("still there") } else { Ok(()) }
        })
        .await;
    }

    /// Deletes the records before an offset, as retention does.
    pub(crate) async fn delete_records_before(&self, offset: i64) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().expect("admin");
        let mut list = rdkafka::TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, rdkafka::Offset::Offset(offset)).expect("list");
        admin.delete_records(&list, &AdminOptions::new()).await.expect("records deleted");
    }

    async fn put_source_and_target(&self) {
        let (host, port) = self.target.rsplit_once(':').expect("host:port");
        let password = std::env::temp_dir().join(format!("otter-lanes-{}", self.name));
        std::fs::write(&password, "secret").expect("a file for the password");
        let text = format!(
            "kind: source\nname: shop\naddresses: [127.0.0.1:1]\nuser: otter\ntopics: {{prefix: {}}}\n---\nkind: target\n\
             name: report\ntype: mysql\naddress: {host}:{port}\nuser: {}\npassword: file:{}\ntls: {{mode: disabled}}\nschema: {}\n",
            self.name,
            self.user(),
            password.display(),
            self.schema()
        );
        self.put(&text).await;
    }

    /// Puts documents; the pipeline is put by [`World::pipeline`].
    pub(crate) async fn put(&self, text: &str) {
        for document in Document::parse_all(text).expect("documents") {
            self.coordination.documents().put(&document, Expected::Any).await.expect("put");
        }
    }

    /// Puts the pipeline with more lines, such as `state: paused`.
    pub(crate) async fn pipeline(&self, more: &str) {
        self.pipeline_of(0..self.tables.len(), more).await;
    }

    /// The same of some of the tables.
    pub(crate) async fn pipeline_of(&self, tables: std::ops::Range<usize>, more: &str) {
        let schema = self.schema();
        let mappings: Vec<String> =
            tables.map(|at| format!("{{from: {}, to: {schema}.{}}}", self.tables[at].name, to(at))).collect();
        let text = format!(
            "kind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{}]\n{more}\n",
            mappings.join(", ")
        );
        self.put(&text).await;
    }

    /// Gives the topic more partitions.
    pub(crate) async fn add_partitions(&self, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.kafka).create().expect("admin");
        let more = NewPartitions::new(&self.topic, partitions);
        let made = admin.create_partitions(&[more], &AdminOptions::new()).await.expect("create");
        made[0].as_ref().expect("created");
        wait_for("the producer knows the partitions", || async {
            let metadata = self.producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(5));
            let count = metadata.map(|m| m.topics()[0].partitions().iter().filter(|p| p.leader() >= 0).count());
            if matches!(count, Ok(n) if n == partitions) { Ok(()) } else { Err(format!("{count:?}")) }
        })
        .await;
    }

    /// Another connection to the target.
    pub(crate) async fn another(&self) -> mysql_async::Conn {
        mysql_async::Conn::from_url(format!("mysql://root@{}/", self.target)).await.expect("the target")
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        self.connection.query_drop(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// The target's rows.
    pub(crate) async fn rows(&mut self) -> Vec<(i32, String)> {
        self.rows_of(0).await
    }

    /// Full name of a target table.
    pub(crate) fn target_table(&self, table: usize) -> String {
        format!("`{}`.{}", self.schema(), to(table))
    }

    async fn rows_of(&mut self, table: usize) -> Vec<(i32, String)> {
        let sql = format!("SELECT id, name FROM `{}`.{} ORDER BY id", self.schema(), to(table));
        self.connection.query(sql).await.expect("rows")
    }

    /// Offset and ordinal of the only progress row; (-1, -1) while there is none.
    pub(crate) async fn progress(&mut self) -> (i64, i64) {
        let sql = format!("SELECT next_offset, ordinal FROM `{}`.progress", self.schema());
        match self.connection.query_first(sql).await {
            Ok(row) => row.unwrap_or((-1, -1)),
            Err(mysql_async::Error::Server(error)) if error.code == 1146 => (-1, -1),
            Err(error) => panic!("progress: {error}"),
        }
    }

    /// The progress of a partition; `None` while there is none.
    pub(crate) async fn standing(&mut self, partition: i32) -> Option<Standing> {
        let sql = format!(
            "SELECT next_offset, ordinal, pending_ordinal FROM `{}`.progress WHERE `partition` = {partition}",
            self.schema()
        );
        match self.connection.query_first(sql).await {
            Ok(row) => row,
            Err(mysql_async::Error::Server(error)) if error.code == 1146 => None,
            Err(error) => panic!("progress: {error}"),
        }
    }

    /// Waits until a partition's progress is as wanted.
    pub(crate) async fn wait_for_standing(&mut self, partition: i32, wanted: impl Fn(Standing) -> bool) -> Standing {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.standing(partition).await;
            if let Some(seen) = seen.filter(|seen| wanted(*seen)) {
                return seen;
            }
            assert!(Instant::now() < until, "partition {partition}: the progress stands at {seen:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The token in the only progress row.
    pub(crate) async fn owner(&mut self) -> String {
        let sql = format!("SELECT owner FROM `{}`.progress", self.schema());
        self.connection.query_first(sql).await.expect("owner").expect("a row")
    }

    /// Where every lane stands.
    pub(crate) async fn standings(&mut self) -> Vec<(String, i32, i64)> {
        let sql = format!("SELECT topic, `partition`, next_offset FROM `{}`.progress", self.schema());
        self.connection.query(sql).await.expect("progress")
    }

    /// The first row of a query in the target's schema.
    pub(crate) async fn first<T: mysql_async::prelude::FromRow + Send + 'static>(&mut self, sql: &str) -> T {
        let schema = self.schema();
        self.run(&format!("USE `{schema}`")).await;
        self.connection.query_first(sql).await.expect("an answer").expect("a row")
    }

    /// Capture was reset to the beginning: transactions and ordinals count anew.
    pub(crate) fn reset(&mut self, generation: i32) {
        self.reset_behind(generation, 0);
    }

    /// The same to a place behind so many transactions.
    pub(crate) fn reset_behind(&mut self, generation: i32, transactions: u64) {
        (self.generation, self.transactions, self.ordinal) = (generation, transactions, 0);
    }

    /// Ends every connection of apply to the target.
    pub(crate) async fn kill_connections(&mut self) {
        let sql = format!("SELECT id FROM information_schema.processlist WHERE user = '{}'", self.user());
        let ids: Vec<u64> = self.connection.query(sql).await.expect("processlist");
        for id in ids {
            // It may have ended by itself.
            drop(self.connection.query_drop(format!("KILL {id}")).await);
        }
    }

    /// Waits until the target holds exactly these rows.
    pub(crate) async fn wait_for_rows(&mut self, rows: &[Row]) {
        self.wait_for_rows_of(0, rows).await;
    }

    /// Waits until one of the target's tables holds exactly these rows.
    pub(crate) async fn wait_for_rows_of(&mut self, table: usize, rows: &[Row]) {
        let wanted: Vec<(i32, String)> = rows.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.rows_of(table).await;
            if seen == wanted {
                return;
            }
            assert!(Instant::now() < until, "the rows are {seen:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the progress stands at an offset or behind it.
    pub(crate) async fn wait_for_offset(&mut self, offset: i64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.progress().await;
            if seen.0 >= offset {
                return;
            }
            assert!(Instant::now() < until, "the progress stands at {seen:?}, not at {offset}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Drops what was made in the databases.
    pub(crate) async fn end(mut self) {
        let sql = format!("DROP DATABASE `{}`", self.schema());
        self.run(&sql).await;
        let sql = format!("DROP USER {}@'%'", self.user());
        self.run(&sql).await;
        std::fs::remove_file(std::env::temp_dir().join(format!("otter-lanes-{}", self.name))).expect("the password");
    }
}

/// Asks until the answer is `Ok`; panics with the last `Err`.
pub(crate) async fn wait_for<T, E: Debug, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(state) => {
                assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}, last seen {state:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn connect(cluster: &str) -> Coordination {
    let mut options = coordination::Options::new(address("OTTER_SERVERS_ZOOKEEPER"));
    options.chroot = schemas::names::default_chroot(cluster);
    Coordination::connect(&options, CancellationToken::new()).await.expect("ZooKeeper")
}

async fn table(coordination: &Coordination, prefix: &str, name: TableName) -> Table {
    let topic = schemas::names::topic(prefix, &name);
    let structure = structure(name.clone());
    let texts = schemas::avro::event_schemas(&structure, &topic, Flavor::Mariadb).expect("schemas");
    let store = coordination.schemas();
    let key = store.register(&schemas::names::key_subject(&topic), &texts.key.expect("a key")).await.expect("key");
    let value = store.register(&schemas::names::value_subject(&topic), &texts.value).await.expect("value");
    let encoder = EventEncoder::compile(&structure, SchemaIds { key: Some(key), value }).expect("encoder");
    Table { name, topic, encoder }
}

fn structure(name: TableName) -> TableStructure {
    let column = |name: &str, ty, nullable| Column { name: name.to_owned(), ty, nullable };
    TableStructure {
        name,
        columns: vec![
            column("id", ColumnType::Int { bytes: 4, unsigned: false }, false),
            column("name", ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 }, true),
        ],
        key: vec![0],
    }
}

/// The row as a binlog event holds it: null bits, id, name.
fn image((id, name): Row) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&u16::try_from(name.len()).expect("short").to_le_bytes());
    out.extend_from_slice(name.as_bytes());
    out
}

/// An apply role in this process.
pub(crate) struct Worker {
    pub(crate) board: StatusBoard,
    pub(crate) metrics: prometheus_client::registry::Registry,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<schemas::Result<()>>,
}

impl Worker {
    pub(crate) async fn start(cluster: &str) -> Self {
        Self::start_with(cluster, Options::default()).await
    }

    pub(crate) async fn start_with(cluster: &str, options: Options) -> Self {
        let coordination = connect(cluster).await;
        let worker = format!("w-{:08x}", rand::random::<u32>());
        let board = StatusBoard::new(WorkerFacts { worker, ..WorkerFacts::default() });
        let mut metrics = prometheus_client::registry::Registry::default();
        let kafka = KafkaOptions { brokers: address("OTTER_SERVERS_KAFKA"), ..KafkaOptions::default() };
        let context =
            Context { cluster: cluster.to_owned(), kafka, coordination, status: board.clone(), metrics: &mut metrics };
        let apply = Apply::new(options, context).expect("apply");
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(apply.run(shutdown.clone()));
        Self { board, metrics, shutdown, task }
    }

    /// The first lane, when this worker has one.
    pub(crate) fn lane(&self) -> Option<LaneStatus> {
        self.lanes().into_iter().next()
    }

    /// The lane of a partition, when this worker has it.
    pub(crate) fn lane_of(&self, partition: i32) -> Option<LaneStatus> {
        self.lanes().into_iter().find(|lane| lane.partition == partition)
    }

    /// The lanes that this worker has.
    pub(crate) fn lanes(&self) -> Vec<LaneStatus> {
        self.board.snapshot().pipelines.into_iter().flat_map(|p| p.lanes).collect()
    }

    /// The sum of a counter over all lanes.
    pub(crate) fn total(&self, counter: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).expect("metrics");
        let lines = text.lines().filter(|line| line.starts_with(&format!("otter_apply_{counter}_total{{")));
        lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number")).sum()
    }

    /// Waits until so many lanes run.
    pub(crate) async fn wait_for_running(&self, count: usize) {
        wait_for(&format!("{count} lanes run"), || async {
            let running = self.lanes().iter().filter(|lane| lane.state == LaneState::Running).count();
            if running == count { Ok(()) } else { Err(running) }
        })
        .await;
    }

    /// Waits until this worker's first lane is in a state, and answers it.
    pub(crate) async fn wait_for_lane(&self, state: LaneState) -> LaneStatus {
        wait_for(&format!("the lane is {state:?}"), || async {
            self.lane().filter(|lane| lane.state == state).ok_or_else(|| self.board.snapshot().pipelines)
        })
        .await
    }

    /// Waits until the first lane has applied so many events, and answers it. Rows are at the target before the board
    /// says so.
    pub(crate) async fn wait_for_events(&self, events: u64) -> LaneStatus {
        wait_for(&format!("the lane applied {events} events"), || async {
            self.lane().filter(|lane| lane.rows >= events).ok_or_else(|| self.lane())
        })
        .await
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("no error");
    }

    pub(crate) async fn run_for_ever(self) {
        self.task.await.expect("no panic").expect("no error");
    }
}
