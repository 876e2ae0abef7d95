//! Row images that MariaDB 10.11 wrote, beside the rows that were inserted. They hold the other tests' image writer to
//! the server: what it makes of those rows must be the server's bytes.

use schemas::avro::event_schemas;
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::decode::EventDecoder;
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SourceBlock};
use schemas::table::{Column, ColumnType, TableName, TableStructure};

use crate::golden::read;
use crate::image::image;
use crate::oracle;
use crate::properties::owned;
use crate::rows::{Cell, IDS, facts};

const TEXT: ColumnType = ColumnType::Text { length_bytes: 1, charset: Charset::Utf8 };
const LONG_TEXT: ColumnType = ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 };

fn structure() -> TableStructure {
    let int = |bytes, unsigned| ColumnType::Int { bytes, unsigned };
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    let time = |fsp| ColumnType::Time { fsp };
    let columns = [
        ("id", int(8, true)),
        ("i1", int(1, false)),
        ("u3", int(3, true)),
        ("d1", decimal(14, 4)),
        ("d2", decimal(65, 30)),
        ("d3", decimal(5, 5)),
        ("f", ColumnType::Float),
        ("g", ColumnType::Double),
        ("da", ColumnType::Date),
        ("dt", ColumnType::DateTime { fsp: 0 }),
        ("dt3", ColumnType::DateTime { fsp: 3 }),
        ("dt5", ColumnType::DateTime { fsp: 5 }),
        ("ts", ColumnType::Timestamp { fsp: 0 }),
        ("ts1", ColumnType::Timestamp { fsp: 1 }),
        ("ts6", ColumnType::Timestamp { fsp: 6 }),
        ("t0", time(0)),
        ("t1", time(1)),
        ("t2", time(2)),
        ("t4", time(4)),
        ("t6", time(6)),
        ("c", TEXT),
        ("v", LONG_TEXT),
        ("tt", LONG_TEXT),
        ("b", ColumnType::Binary { length: 4, length_bytes: 1 }),
        ("vb", ColumnType::Bytes { length_bytes: 1 }),
        ("bl", ColumnType::Bytes { length_bytes: 3 }),
    ];
    let columns = columns.map(|(name, ty)| Column { name: name.into(), ty, nullable: name != "id" });
    TableStructure { name: TableName::new("x", "t"), columns: columns.into(), key: vec![0] }
}

fn decimal(text: &str) -> Cell {
    Cell::Decimal { negative: text.starts_with('-'), digits: text.trim_start_matches('-').replace('.', "") }
}

fn datetime(date: (i16, i8, i8), time: (i8, i8, i8), micros: u32) -> Cell {
    Cell::DateTime { date, time, micros }
}

fn time(negative: bool, (hours, minutes, seconds): (u32, u32, u32), micros: u32) -> Cell {
    Cell::Time { negative, hours, minutes, seconds, micros }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

fn extremes() -> Vec<Cell> {
    vec![
        Cell::Int(u64::MAX.into()),
        Cell::Int(-128),
        Cell::Int(16_777_215),
        decimal("-1234567890.1234"),
        decimal(&format!("-{}.{}", "9".repeat(35), "9".repeat(30))),
        decimal(".00001"),
        Cell::Float(-1.5),
        Cell::Double(1e300),
        Cell::Date(9999, 12, 31),
        datetime((2024, 2, 29), (23, 59, 59), 0),
        datetime((1969, 12, 31), (23, 59, 59), 999_000),
        datetime((2026, 11, 22), (10, 30, 1), 123_450),
        Cell::Timestamp { seconds: 1_704_164_645, micros: 0 },
        Cell::Timestamp { seconds: 1_704_164_645, micros: 500_000 },
        Cell::Timestamp { seconds: 2_147_483_647, micros: 999_999 },
        time(true, (838, 59, 59), 0),
        time(true, (0, 0, 0), 100_000),
        time(true, (0, 0, 1), 10_000),
        time(false, (838, 59, 59), 999_900),
        time(true, (838, 59, 59), 999_999),
        text("Jürgen"),
        text("日本"),
        text(&"x".repeat(300)),
        Cell::Bytes(vec![1, 0, 2, 0]),
        Cell::Bytes(vec![0]),
        Cell::Bytes(vec![]),
    ]
}

fn small() -> Vec<Cell> {
    vec![
        Cell::Int(0),
        Cell::Int(127),
        Cell::Int(0),
        decimal("0000000000.0000"),
        decimal(&format!("{}.{}1", "0".repeat(35), "0".repeat(29))),
        decimal("-.99999"),
        Cell::Float(0.0),
        Cell::Double(0.0),
        Cell::Date(1, 1, 1),
        datetime((1000, 1, 1), (0, 0, 0), 0),
        datetime((1970, 1, 1), (0, 0, 0), 0),
        datetime((9999, 12, 31), (23, 59, 59), 999_990),
        Cell::Null,
        Cell::Timestamp { seconds: 1, micros: 0 },
        Cell::Null,
        time(false, (0, 0, 0), 0),
        time(false, (0, 0, 0), 900_000),
        time(true, (0, 0, 0), 10_000),
        time(true, (0, 0, 0), 100),
        time(true, (0, 0, 0), 1),
        text(""),
        text("😀"),
        text(""),
        Cell::Bytes(vec![0; 4]),
        Cell::Null,
        Cell::Null,
    ]
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let digits = digits.map(|pair| std::str::from_utf8(pair).expect("ascii"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

#[test]
fn the_servers_images_are_read_as_the_rows_inserted() {
    let structure = structure();
    let schema = event_schemas(&structure, "shop.x.t", Flavor::Mariadb).expect("schemas").value;
    let encoder = EventEncoder::compile(&structure, IDS).expect("a plan");
    let decoder = EventDecoder::compile(&schema).expect("a plan");
    let source = SourceBlock::new(&facts(None, None));
    let golden = read("mariadb-10.11-rows.hex");
    let images: Vec<_> = golden.lines().map(bytes).collect();
    assert_eq!(images.len(), 2);
    for (server, row) in images.iter().zip([extremes(), small()]) {
        assert_eq!(image(&structure, &row), *server, "the tests' image writer");
        assert_eq!(encoder.image_len(server).expect("whole"), server.len());
        let event = RowEvent {
            op: Op::Create,
            before: None,
            after: Some(server),
            source: &source,
            position: RowPosition { pos: 4, row: 0, ordinal: 1 },
            ts_us: 0,
        };
        let mut out = vec![];
        encoder.encode_value(&event, &mut out).expect("encoded");
        let (mut before, mut after) = (vec![], vec![]);
        decoder.decode(&out[5..], &mut before, &mut after).expect("decoded");
        let columns = structure.columns.iter().zip(&row);
        for ((column, cell), datum) in columns.zip(after) {
            assert_eq!(owned(datum), oracle::datum(&column.ty, cell), "{}", column.name);
        }
    }
}
