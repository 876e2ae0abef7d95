//! A server under test, and rows as its binlog has them.

use std::time::Duration;

use bytes::Bytes;
use capture::binlog::event::{Event, RawEvent};
use capture::binlog::server::Collations;
use capture::binlog::table_map::{parse_table_map, table_name};
use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder, Row};
use schemas::avro::event_schemas;
use schemas::checkpoint::Flavor;
use schemas::decode::{Datum, DatumKind, EventDecoder};
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SchemaIds, SourceBlock, SourceFacts};
use schemas::table::TableStructure;

const PATIENCE: Duration = Duration::from_secs(60);

/// One of the servers that tests run on.
pub(crate) struct Server {
    pub(crate) flavor: Flavor,
    pub(crate) conn: Conn,
    address: String,
}

/// A table's rows out of the binlog: each column's kind with the value in a form that the server can be asked for.
pub(crate) struct Rows {
    pub(crate) structure: TableStructure,
    pub(crate) rows: Vec<Vec<(DatumKind, String)>>,
}

async fn root(address: &str) -> Conn {
    let (host, port) = address.rsplit_once(':').unwrap();
    let options = OptsBuilder::default().ip_or_hostname(host).tcp_port(port.parse().unwrap()).user(Some("root"));
    Conn::new(options.prefer_socket(false)).await.unwrap()
}

impl Server {
    /// A session in UTC that may store everything the server can.
    pub(crate) async fn connect(flavor: Flavor) -> Self {
        let variable = match flavor {
            Flavor::Mariadb => "OTTER_SERVERS_SOURCE",
            Flavor::Mysql => "OTTER_SERVERS_MYSQL_SOURCE",
        };
        let address =
            std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: run the tests by ./deploy/test"));
        let mut server = Self { flavor, conn: root(&address).await, address };
        server.run("SET NAMES utf8mb4").await;
        server.run("SET time_zone='+00:00', sql_mode='ALLOW_INVALID_DATES'").await;
        server
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        if let Err(error) = self.conn.query_drop(sql).await {
            panic!("{}: {error}", sql.chars().take(2000).collect::<String>());
        }
    }

    pub(crate) async fn texts(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let rows: Vec<Row> = self.conn.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = rows
            .into_iter()
            .map(|row| (0..row.len()).map(|i| row.get::<Option<Vec<u8>>, _>(i).unwrap().map(lossy)).collect());
        rows.collect()
    }

    async fn collations(&mut self) -> Collations {
        let table = match self.flavor {
            Flavor::Mariadb => "COLLATION_CHARACTER_SET_APPLICABILITY",
            Flavor::Mysql => "COLLATIONS",
        };
        let sql = format!(
            "SELECT ID, CHARACTER_SET_NAME FROM information_schema.{table} \
             WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL"
        );
        let pairs: Vec<(u64, String)> = self.conn.query(sql).await.unwrap();
        pairs.into_iter().collect()
    }

    /// Runs statements in a schema of their own, where they insert `count` rows into a table `t`, and reads those.
    pub(crate) async fn rows(&mut self, schema: &str, statements: &[String], count: usize) -> Rows {
        let status = match self.flavor {
            Flavor::Mariadb => "SHOW MASTER STATUS",
            Flavor::Mysql => "SHOW BINARY LOG STATUS",
        };
        let at: Row = self.conn.query_first(status).await.unwrap().unwrap();
        let (file, position): (String, u64) = (at.get(0).unwrap(), at.get(1).unwrap());
        self.run(&format!("DROP DATABASE IF EXISTS {schema}")).await;
        self.run(&format!("CREATE DATABASE {schema}")).await;
        self.run(&format!("USE {schema}")).await;
        for sql in statements {
            self.run(sql).await;
        }
        let collations = self.collations().await;
        let request = BinlogStreamRequest::new(rand::random::<u32>() | 0x8000_0000)
            .with_filename(file.as_bytes())
            .with_pos(position);
        let mut stream = root(&self.address).await.get_binlog_stream(request).await.unwrap();
        let mut reading = Reading { flavor: self.flavor, table: None, rows: vec![] };
        while reading.rows.len() < count {
            let event = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap().unwrap().unwrap();
            let header = event.header();
            // TABLE_MAP and rows events
            if ![19, 30].contains(&header.event_type_raw()) && header.event_type_raw() != 23 {
                continue;
            }
            let raw = RawEvent {
                event_type: header.event_type_raw(),
                timestamp: header.timestamp(),
                server_id: header.server_id(),
                log_pos: u64::from(header.log_pos()),
                flags: header.flags_raw(),
                body: Bytes::copy_from_slice(event.data()),
            };
            reading.take(&raw.parse().unwrap(), schema, &collations);
        }
        let (_, structure, ..) = reading.table.unwrap();
        Rows { structure, rows: reading.rows }
    }
}

struct Reading {
    flavor: Flavor,
    table: Option<(u64, TableStructure, EventEncoder, EventDecoder)>,
    rows: Vec<Vec<(DatumKind, String)>>,
}

impl Reading {
    fn take(&mut self, event: &Event<'_>, schema: &str, collations: &Collations) {
        match event {
            Event::TableMap { table_id, body } if table_name(body) == Some((schema.as_bytes(), &b"t"[..])) => {
                let structure = parse_table_map(body, collations).unwrap();
                let texts = event_schemas(&structure, "x.y.t", self.flavor).unwrap();
                let ids = SchemaIds { key: texts.key.as_ref().map(|_| 1), value: 2 };
                let encoder = EventEncoder::compile(&structure, ids).unwrap();
                self.table = Some((*table_id, structure, encoder, EventDecoder::compile(&texts.value).unwrap()));
            }
            Event::Rows(rows) => {
                let Some((id, _, encoder, decoder)) = &self.table else { return };
                if rows.table_id != *id {
                    return;
                }
                let mut images = rows.rows;
                while !images.is_empty() {
                    let (image, rest) = images.split_at(encoder.image_len(images).unwrap());
                    self.rows.push(decoded(encoder, decoder, image, self.flavor));
                    images = rest;
                }
            }
            _ => {}
        }
    }
}

fn decoded(encoder: &EventEncoder, decoder: &EventDecoder, image: &[u8], flavor: Flavor) -> Vec<(DatumKind, String)> {
    let source = SourceBlock::new(&SourceFacts {
        flavor,
        version: "0",
        name: "x",
        ts_ms: 0,
        db: "y",
        table: "t",
        server_id: 1,
        gtid: None,
        file: "f",
        thread: None,
        generation: 0,
    });
    let position = RowPosition { pos: 4, row: 0, ordinal: 1 };
    let row = RowEvent { op: Op::Create, before: None, after: Some(image), source: &source, position, ts_us: 0 };
    let mut out = vec![];
    encoder.encode_value(&row, &mut out).unwrap();
    let (mut before, mut after) = (vec![], vec![]);
    decoder.decode(&out[5..], &mut before, &mut after).unwrap();
    let columns = decoder.columns().iter().zip(after);
    columns.map(|(column, datum)| (column.kind, shown(&column.kind, &datum))).collect()
}

/// What bytes are printed as, text or not.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn shown(kind: &DatumKind, datum: &Datum<'_>) -> String {
    match datum {
        Datum::Null => "NULL".into(),
        Datum::Int(n) => n.to_string(),
        Datum::Float(n) => f64::from(*n).to_string(),
        Datum::Double(n) => n.to_string(),
        Datum::Decimal(bytes) => decimal(bytes, kind),
        Datum::Bytes(bytes) if matches!(kind, DatumKind::Bits { .. }) => {
            bytes.iter().rev().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)).to_string()
        }
        Datum::Bytes(bytes) => hex(bytes),
        Datum::Text(text) if *kind == DatumKind::ZonedTimestamp => (*text).to_owned(),
        Datum::Text(text) => hex(text.as_bytes()),
        Datum::Exact(text) => format!("exact {text}"),
    }
}

/// Long division of a two's complement by ten.
fn decimal(bytes: &[u8], kind: &DatumKind) -> String {
    let DatumKind::Decimal { scale, .. } = kind else { panic!("{kind:?}") };
    let negative = bytes[0] & 0x80 != 0;
    let mut number: Vec<u8> = bytes.iter().map(|byte| if negative { !byte } else { *byte }).collect();
    if negative {
        for byte in number.iter_mut().rev() {
            let (sum, carry) = byte.overflowing_add(1);
            *byte = sum;
            if !carry {
                break;
            }
        }
    }
    let mut digits = vec![];
    while number.iter().any(|byte| *byte != 0) || digits.len() <= usize::from(*scale) {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 10).unwrap();
            rest = value % 10;
        }
        digits.push(char::from(b'0' + u8::try_from(rest).unwrap()));
    }
    let text: String = digits.iter().rev().collect();
    let (whole, part) = text.split_at(text.len() - usize::from(*scale));
    let point = if part.is_empty() { "" } else { "." };
    format!("{}{whole}{point}{part}", if negative { "-" } else { "" })
}
