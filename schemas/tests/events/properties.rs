//! For random tables and rows: our bytes are apache-avro's, what is decoded is what was written, images are walked.

use proptest::prelude::*;
use schemas::avro::event_schemas;
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::decode::{Datum, EventDecoder};
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SourceBlock};
use schemas::table::{ColumnType, TableStructure};
use schemas::{framing, names};

use crate::image::image;
use crate::oracle::{self, Event, Owned};
use crate::rows::{Case, Cell, IDS, case, facts, ids};

pub(crate) fn owned(datum: Datum<'_>) -> Owned {
    match datum {
        Datum::Null => Owned::Null,
        Datum::Int(n) => Owned::Int(n),
        Datum::Decimal(bytes) => Owned::Decimal(bytes.to_vec()),
        Datum::Float(n) => Owned::Float(n.to_bits()),
        Datum::Double(n) => Owned::Double(n.to_bits()),
        Datum::Text(text) => Owned::Text(text.to_owned()),
        Datum::Exact(text) => panic!("exact {text}"),
        Datum::Bytes(bytes) => Owned::Bytes(bytes.to_vec()),
    }
}

fn expected(structure: &TableStructure, row: Option<&[Cell]>) -> Vec<Owned> {
    let columns = structure.columns.iter();
    row.map_or(vec![], |row| columns.zip(row).map(|(column, cell)| oracle::datum(&column.ty, cell)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn events_are_apache_avros_bytes_and_come_back(
        case in case(),
        op in prop_oneof![Just(Op::Create), Just(Op::Update), Just(Op::Delete)],
        pos in 0..=i64::MAX.cast_unsigned(),
        row in 0..=i32::MAX.cast_unsigned(),
        ordinal in any::<i64>(),
        ts_us in 0..4_000_000_000_000_000_i64,
        (gtid, thread) in (any::<bool>(), proptest::option::of(any::<i64>())),
    ) {
        let Case { structure, before, after } = &case;
        let facts = facts(gtid.then_some("0-1-42"), thread);
        let event = Event {
            op,
            before: (op != Op::Create).then_some(before),
            after: (op != Op::Delete).then_some(after),
            facts,
            position: RowPosition { pos, row, ordinal },
            ts_us,
        };
        let texts = event_schemas(structure, &names::topic("shop", &structure.name), Flavor::Mariadb).expect("schemas");
        let encoder = EventEncoder::compile(structure, ids(structure)).expect("a plan");
        let (before_image, after_image) =
            (event.before.map(|row| image(structure, row)), event.after.map(|row| image(structure, row)));
        let source = SourceBlock::new(&facts);

        let mut out = b"kept".to_vec();
        let row_event = RowEvent {
            op,
            before: before_image.as_deref(),
            after: after_image.as_deref(),
            source: &source,
            position: event.position,
            ts_us,
        };
        encoder.encode_value(&row_event, &mut out).expect("encoded");
        prop_assert_eq!(&out[..4], b"kept");
        let (id, avro) = framing::split(&out[4..]).expect("framed");
        prop_assert_eq!(id, IDS.value);
        let wanted = oracle::avro(&texts.value, oracle::envelope(structure, &event, oracle::no_exact()));
        prop_assert_eq!(avro, &wanted[..]);

        let decoder = EventDecoder::compile(&texts.value).expect("a plan");
        for (column, writer) in structure.columns.iter().zip(decoder.columns()) {
            prop_assert_eq!(&column.name, &writer.name);
            prop_assert_eq!(column.nullable, writer.nullable);
            prop_assert_eq!(oracle::kind(&column.ty), writer.kind);
        }
        let (mut got_before, mut got_after) = (vec![Datum::Null], vec![Datum::Int(1)]);
        let head = decoder.decode(avro, &mut got_before, &mut got_after).expect("decoded");
        prop_assert_eq!((head.op, head.has_before, head.has_after), (op, op != Op::Create, op != Op::Delete));
        prop_assert_eq!((head.ordinal, head.generation, head.gtid), (ordinal, facts.generation, facts.gtid));
        prop_assert_eq!((head.source_ts_ms, head.file), (facts.ts_ms, facts.file));
        prop_assert_eq!((head.pos.cast_unsigned(), head.row.cast_unsigned()), (pos, row));
        let got: Vec<_> = got_before.into_iter().map(owned).collect();
        prop_assert_eq!(got, expected(structure, event.before));
        let got: Vec<_> = got_after.into_iter().map(owned).collect();
        prop_assert_eq!(got, expected(structure, event.after));
    }

    #[test]
    fn keys_are_apache_avros_bytes(case in case()) {
        let Case { structure, before, after } = &case;
        let texts = event_schemas(structure, "shop.shop.tb_user", Flavor::Mariadb).expect("schemas");
        let encoder = EventEncoder::compile(structure, ids(structure)).expect("a plan");
        let (before_image, after_image) = (image(structure, before), image(structure, after));
        let mut out = vec![];
        encoder.encode_key(&before_image, &mut out).expect("encoded");
        match texts.key {
            None => {
                prop_assert!(out.is_empty() && !encoder.has_key());
                prop_assert_eq!(encoder.partition_hash(&before_image).expect("hashed"), 0);
            }
            Some(text) => {
                let (id, avro) = framing::split(&out).expect("framed");
                prop_assert_eq!(Some(id), IDS.key);
                prop_assert_eq!(avro, &oracle::avro(&text, oracle::key(structure, before))[..]);
            }
        }
        let parts = |row: &[Cell]| structure.key.iter().map(|&i| oracle::datum(&structure.columns[i].ty, &row[i])).collect::<Vec<_>>();
        let same = encoder.same_key(&before_image, &after_image).expect("compared");
        prop_assert_eq!(same, parts(before) == parts(after));
        if same {
            let hash = |image: &[u8]| encoder.partition_hash(image).expect("hashed");
            prop_assert_eq!(hash(&before_image), hash(&after_image));
        }
    }

    #[test]
    fn images_are_walked(case in case(), behind in proptest::collection::vec(any::<u8>(), 0..20)) {
        let Case { structure, before, after } = &case;
        let encoder = EventEncoder::compile(structure, ids(structure)).expect("a plan");
        let (first, second) = (image(structure, before), image(structure, after));
        let all = [&first[..], &second, &behind].concat();
        prop_assert_eq!(encoder.image_len(&all).expect("whole"), first.len());
        prop_assert_eq!(encoder.image_len(&all[first.len()..]).expect("whole"), second.len());
    }

    #[test]
    fn partitions_follow_values_not_types(number in any::<i32>(), text in "[a-z ]{0,20}[a-z]", spaces in 0..4_usize) {
        let hash = |ty: ColumnType, cell: Cell| {
            let structure = crate::golden::one_column(ty);
            let encoder = EventEncoder::compile(&structure, IDS).expect("a plan");
            encoder.partition_hash(&image(&structure, &[cell])).expect("hashed")
        };
        let wanted = hash(ColumnType::Int { bytes: 4, unsigned: false }, Cell::Int(number.into()));
        prop_assert_eq!(hash(ColumnType::Int { bytes: 8, unsigned: false }, Cell::Int(number.into())), wanted);
        for (precision, scale) in [(10, 0), (30, 5), (65, 30)] {
            let whole = usize::from(precision - scale);
            let digits = format!("{:0>whole$}{}", number.unsigned_abs(), "0".repeat(usize::from(scale)));
            let cell = Cell::Decimal { negative: number < 0, digits };
            prop_assert_eq!(hash(ColumnType::Decimal { precision, scale }, cell), wanted);
        }
        let wanted = hash(ColumnType::Text { length_bytes: 1, charset: Charset::Utf8 }, Cell::Text(text.clone()));
        let folded = text.to_uppercase() + &" ".repeat(spaces);
        prop_assert_eq!(hash(ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 }, Cell::Text(folded)), wanted);
    }
}
