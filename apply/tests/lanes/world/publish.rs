//! What the test publishes in place of a capture.

use super::*;

impl World {
    /// Publishes one source transaction in a Kafka transaction of its own.
    pub(crate) fn publish(&mut self, changes: &[Change]) {
        self.publish_all(&[changes]);
    }

    /// Publishes one source transaction of another table.
    pub(crate) fn publish_to(&mut self, table: usize, changes: &[Change]) {
        self.producer.begin_transaction().expect("begin");
        self.transactions += 1;
        for change in changes {
            self.ordinal += 10;
            self.send((table, 0), *change, self.ordinal, &format!("0-1-{}", self.transactions));
        }
        self.commit();
    }

    /// Publishes one source transaction whose changes lie in the partitions given; answers the ordinal of the last.
    pub(crate) fn publish_at(&mut self, changes: &[(i32, Change)]) -> i64 {
        self.producer.begin_transaction().expect("begin");
        self.transactions += 1;
        for (partition, change) in changes {
            self.ordinal += 10;
            self.send((0, *partition), *change, self.ordinal, &format!("0-1-{}", self.transactions));
        }
        self.commit();
        self.ordinal
    }

    /// Publishes the same change of every table, in one Kafka transaction.
    pub(crate) fn publish_to_all(&mut self, change: Change) {
        self.producer.begin_transaction().expect("begin");
        self.transactions += 1;
        for table in 0..self.tables.len() {
            self.ordinal += 10;
            self.send((table, 0), change, self.ordinal, &format!("0-1-{}", self.transactions));
        }
        self.commit();
    }

    /// Publishes a row for each partition of every table, in one Kafka transaction; partition by partition, from this id on.
    pub(crate) fn publish_to_all_partitions(&mut self, first: i32, partitions: i32) {
        self.producer.begin_transaction().expect("begin");
        self.transactions += 1;
        for table in 0..self.tables.len() {
            for partition in 0..partitions {
                self.ordinal += 10;
                let row = Change::Insert((first + partition, "x"));
                self.send((table, partition), row, self.ordinal, &format!("0-1-{}", self.transactions));
            }
        }
        self.commit();
    }

    /// Publishes a barrier behind which the topic has so many partitions, as capture does; answers its ordinal.
    pub(crate) fn publish_barrier(&mut self, kind: BarrierKind, partitions: i32) -> i64 {
        self.publish_barrier_to(0, kind, partitions)
    }

    /// The same into the topic of another table.
    pub(crate) fn publish_barrier_to(&mut self, table: usize, kind: BarrierKind, partitions: i32) -> i64 {
        let topic = self.tables[table].topic.clone();
        let before = match kind {
            BarrierKind::Truncate => partitions,
            BarrierKind::Repartition => partitions / 2,
        };
        // As capture does: the marker of the transaction before may still be on its way, and to a reader of what is
        // committed the partition ends in front of that transaction until then.
        let ends = self.ends(&topic, "read_uncommitted", before);
        self.ordinal += 10;
        // A repartition is not in the binlog.
        self.transactions += u64::from(kind == BarrierKind::Truncate);
        let gtid = (kind == BarrierKind::Truncate).then(|| format!("0-1-{}", self.transactions));
        let barrier = Barrier {
            kind,
            generation: self.generation,
            ordinal: self.ordinal,
            ends,
            gtid,
            file: "binlog.000001".to_owned(),
            pos: 4,
            ts_ms: 0,
            partitions: partitions.cast_unsigned(),
        };
        let json = barrier.to_json();
        self.producer.begin_transaction().expect("begin");
        for partition in 0..partitions {
            let header = Header { key: schemas::barrier::HEADER, value: Some(&json) };
            let record = BaseRecord::<(), ()>::to(&topic).partition(partition);
            self.producer.send(record.headers(OwnedHeaders::new().insert(header))).map_err(|(e, _)| e).expect("sent");
        }
        self.commit();
        self.ordinal
    }

    /// The ends of the first topic's first partitions, as a reader of this isolation sees them.
    fn ends(&self, topic: &str, isolation: &str, partitions: i32) -> Vec<i64> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka).set("isolation.level", isolation);
        let reader: BaseConsumer = config.create().expect("a reader of offsets");
        let end = |partition| reader.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("ends").1;
        (0..partitions).map(end).collect()
    }

    /// Waits until readers of what is committed see all that was published into the first topic. A commit is answered
    /// before its markers are written, and whoever looks for the end before that finds it in front of the transaction.
    pub(crate) async fn wait_for_markers(&self) {
        let metadata = self.producer.client().fetch_metadata(Some(&self.topic), Duration::from_secs(10));
        let count = metadata.expect("the topic").topics()[0].partitions().len();
        let count = i32::try_from(count).expect("few partitions");
        wait_for("the markers of what was committed", || async {
            let all = tokio::task::block_in_place(|| self.ends(&self.topic, "read_uncommitted", count));
            let seen = tokio::task::block_in_place(|| self.ends(&self.topic, "read_committed", count));
            if seen == all { Ok(()) } else { Err((seen, all)) }
        })
        .await;
    }

    /// Publishes rows of the first table into the first so many partitions in turn, as transactions of one row, in one
    /// Kafka transaction.
    pub(crate) fn publish_backlog(&mut self, ids: std::ops::Range<i32>, partitions: i32) {
        let changes: Vec<_> = ids.map(|id| (id % partitions, Change::Insert((id, "x")))).collect();
        self.publish_each(&changes);
    }

    /// Publishes source transactions of one change each, with its partition, in one Kafka transaction.
    pub(crate) fn publish_each(&mut self, changes: &[(i32, Change)]) {
        self.producer.begin_transaction().expect("begin");
        for (partition, change) in changes {
            (self.transactions, self.ordinal) = (self.transactions + 1, self.ordinal + 10);
            self.send((0, *partition), *change, self.ordinal, &format!("0-1-{}", self.transactions));
        }
        self.commit();
    }

    /// Publishes a record that is no event.
    pub(crate) fn publish_garbage(&self) {
        self.producer.begin_transaction().expect("begin");
        let record = BaseRecord::to(&self.topic).key("x").payload("garbage").partition(0);
        self.producer.send(record).map_err(|(e, _)| e).expect("sent");
        self.commit();
    }

    /// Publishes source transactions in one Kafka transaction.
    pub(crate) fn publish_all(&mut self, transactions: &[&[Change]]) {
        self.producer.begin_transaction().expect("begin");
        for changes in transactions {
            self.transactions += 1;
            let gtid = format!("0-1-{}", self.transactions);
            for change in *changes {
                self.ordinal += 10;
                self.send((0, 0), *change, self.ordinal, &gtid);
            }
        }
        self.commit();
    }

    /// Publishes a change with an ordinal of the past.
    pub(crate) fn repeat(&mut self, change: Change, ordinal: i64) {
        self.producer.begin_transaction().expect("begin");
        self.send((0, 0), change, ordinal, "0-1-1");
        self.commit();
    }

    fn commit(&self) {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
        self.producer.commit_transaction(Duration::from_secs(20)).expect("commit");
    }

    fn send(&self, (table, partition): (usize, i32), change: Change, ordinal: i64, gtid: &str) {
        let table = &self.tables[table];
        let (op, before, after) = match change {
            Change::Insert(row) => (Op::Create, None, Some(image(row))),
            Change::Update(before, after) => (Op::Update, Some(image(before)), Some(image(after))),
            Change::Delete(row) => (Op::Delete, Some(image(row)), None),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_micros();
        let now = i64::try_from(now).expect("fits");
        let source = SourceBlock::new(&SourceFacts {
            flavor: schemas::checkpoint::Flavor::Mariadb,
            version: "test",
            name: &self.name,
            // Never a whole second, which says no more than that in a MariaDB's event.
            ts_ms: now / 1000 + i64::from(now / 1000 % 1000 == 0),
            db: "shop",
            table: &table.name.table,
            server_id: 1,
            gtid: Some(gtid),
            file: "binlog.000001",
            thread: None,
            generation: self.generation,
        });
        let event = RowEvent {
            op,
            before: before.as_deref(),
            after: after.as_deref(),
            source: &source,
            position: RowPosition { pos: 4, row: 0, ordinal },
            ts_us: now,
        };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let identity = before.as_deref().or(after.as_deref()).expect("a row");
        table.encoder.encode_key(identity, &mut key).expect("key");
        table.encoder.encode_value(&event, &mut value).expect("value");
        let mut record = BaseRecord::to(&table.topic).key(&key).payload(&value).partition(partition);
        while let Err((error, back)) = self.producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(rdkafka::error::RDKafkaErrorCode::QueueFull), "{error}");
            self.producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
}
