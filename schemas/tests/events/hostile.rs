//! Bytes that no server and no Otter wrote: never a panic, never a part left behind, never read beyond the end.

use avro_rs::types::Value;
use proptest::prelude::*;
use schemas::avro::event_schemas;
use schemas::charset::Charset;
use schemas::checkpoint::Flavor;
use schemas::decode::EventDecoder;
use schemas::encode::{EventEncoder, Op, RowEvent, RowPosition, SourceBlock};
use schemas::table::ColumnType;
use schemas::{Code, Error};

use crate::golden::one_column;
use crate::image::image;
use crate::oracle::{self, Event};
use crate::rows::{Case, Cell, IDS, case, facts, ids};

const POSITION: RowPosition = RowPosition { pos: 4, row: 0, ordinal: 9 };

fn encode(encoder: &EventEncoder, image: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let source = SourceBlock::new(&facts(None, None));
    let row =
        RowEvent { op: Op::Create, before: None, after: Some(image), source: &source, position: POSITION, ts_us: 0 };
    encoder.encode_value(&row, out)
}

fn try_all(encoder: &EventEncoder, bytes: &[u8]) -> Result<(), TestCaseError> {
    let known = |error: Error| {
        prop_assert!(matches!(error.code(), Code::BinlogCorrupt), "{}", error);
        Ok(())
    };
    match encoder.image_len(bytes) {
        Ok(length) => prop_assert!(length >= 1 && length <= bytes.len()),
        Err(error) => known(error)?,
    }
    let mut out = b"kept".to_vec();
    if let Err(error) = encode(encoder, bytes, &mut out) {
        prop_assert_eq!(&out[..], b"kept");
        known(error)?;
    }
    out.truncate(4);
    if let Err(error) = encoder.encode_key(bytes, &mut out) {
        prop_assert_eq!(&out[..], b"kept");
        known(error)?;
    }
    encoder.partition_hash(bytes).map(drop).or_else(known)?;
    encoder.same_key(bytes, bytes).map(|same| assert!(same)).or_else(known)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn images_of_any_bytes(
        case in case(),
        random in proptest::collection::vec(any::<u8>(), 0..400),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let structure = &case.structure;
        let encoder = EventEncoder::compile(structure, ids(structure)).expect("a plan");
        try_all(&encoder, &random)?;
        let whole = image(structure, &case.after);
        let mut changed = whole.clone();
        for (at, byte) in flips {
            let at = at.index(changed.len());
            changed[at] ^= byte;
        }
        try_all(&encoder, &changed)?;
        let short = &whole[..cut.index(whole.len())];
        try_all(&encoder, short)?;
        prop_assert_eq!(encoder.image_len(short).map_err(|error| error.code()), Err(Code::BinlogCorrupt));
        prop_assert_eq!(encode(&encoder, short, &mut vec![]).map_err(|error| error.code()), Err(Code::BinlogCorrupt));
    }

    #[test]
    fn events_of_any_bytes(
        case in case(),
        random in proptest::collection::vec(any::<u8>(), 0..400),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let Case { structure, after, .. } = &case;
        let encoder = EventEncoder::compile(structure, ids(structure)).expect("a plan");
        let texts = event_schemas(structure, "shop.shop.tb_user", Flavor::Mariadb).expect("schemas");
        let decoder = EventDecoder::compile(&texts.value).expect("a plan");
        let mut framed = vec![];
        encode(&encoder, &image(structure, after), &mut framed).expect("encoded");
        let whole = &framed[5..];
        let (mut before, mut rows) = (vec![], vec![]);
        prop_assert!(decoder.decode(whole, &mut before, &mut rows).is_ok());

        let mut changed = whole.to_vec();
        for (at, byte) in flips {
            let at = at.index(changed.len());
            changed[at] ^= byte;
        }
        for bytes in [&random, &changed] {
            if let Err(error) = decoder.decode(bytes, &mut vec![], &mut vec![]) {
                prop_assert!(matches!(error.code(), Code::RecordInvalid | Code::ExactUnsupported), "{}", error);
            }
        }
        let longer = [whole, &[0]].concat();
        for bytes in [&whole[..cut.index(whole.len())], &longer] {
            let error = decoder.decode(bytes, &mut vec![], &mut vec![]).map(drop).map_err(|error| error.code());
            prop_assert_eq!(error, Err(Code::RecordInvalid));
        }
    }

    #[test]
    fn schemas_of_any_text(
        case in case(),
        from in any::<proptest::sample::Index>(),
        length in 0..40_usize,
        instead in prop_oneof![Just(""), Just("null"), Just("{}"), Just("[]"), Just("\"Value\""), Just("0"), Just("\"x\":1,")],
    ) {
        let text = event_schemas(&case.structure, "shop.shop.tb_user", Flavor::Mariadb).expect("schemas").value;
        let from = (0..=from.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).expect("a boundary");
        let to = (from + length..).find(|at| *at >= text.len() || text.is_char_boundary(*at)).expect("a boundary");
        let changed = format!("{}{instead}{}", &text[..from], &text[to.min(text.len())..]);
        if let Err(error) = EventDecoder::compile(&changed) {
            prop_assert_eq!(error.code(), Code::RecordInvalid);
        }
    }
}

#[test]
fn null_against_the_structure_is_corrupt() {
    let encoder = EventEncoder::compile(&one_column(ColumnType::Double), IDS).expect("a plan");
    let error = encode(&encoder, &[1], &mut vec![]).expect_err("refused");
    assert_eq!(error.code(), Code::BinlogCorrupt);
    // bits beyond the columns mean nothing
    assert_eq!(encoder.image_len(&[0xfe, 0, 0, 0, 0, 0, 0, 0, 0]).expect("whole"), 9);
}

#[test]
fn an_operation_needs_its_images() {
    let encoder = EventEncoder::compile(&one_column(ColumnType::Double), IDS).expect("a plan");
    let source = SourceBlock::new(&facts(None, None));
    let image: Option<&[u8]> = Some(&[0; 9]);
    for (op, before, after) in [
        (Op::Create, None, None),
        (Op::Create, image, image),
        (Op::Update, None, image),
        (Op::Update, image, None),
        (Op::Delete, None, image),
        (Op::Delete, image, image),
    ] {
        let row = RowEvent { op, before, after, source: &source, position: POSITION, ts_us: 0 };
        let error = encoder.encode_value(&row, &mut vec![]).expect_err("refused");
        assert_eq!(error.code(), Code::ImageIncomplete, "{op:?}");
    }
}

#[test]
fn structures_that_no_server_has_are_refused() {
    for ty in [
        ColumnType::Int { bytes: 5, unsigned: false },
        ColumnType::Decimal { precision: 0, scale: 0 },
        ColumnType::Decimal { precision: 66, scale: 0 },
        ColumnType::Decimal { precision: 4, scale: 5 },
        ColumnType::Decimal { precision: 60, scale: 39 },
        ColumnType::Time { fsp: 7 },
        ColumnType::Text { length_bytes: 0, charset: Charset::Utf8 },
        ColumnType::Bytes { length_bytes: 5 },
        ColumnType::Binary { length: 4, length_bytes: 3 },
    ] {
        let error = EventEncoder::compile(&one_column(ty.clone()), IDS).expect_err("refused");
        assert_eq!(error.code(), Code::TypeUnsupported, "{ty:?}");
    }
    let good = one_column(ColumnType::Double);
    for key in [vec![1], vec![0, 0], vec![]] {
        let structure = schemas::table::TableStructure { key, ..good.clone() };
        let error = EventEncoder::compile(&structure, IDS).expect_err("refused");
        assert_eq!(error.code(), Code::TypeUnsupported);
    }
}

#[test]
fn an_exact_of_a_column_that_needs_none_is_refused() {
    let structure = one_column(ColumnType::Int { bytes: 4, unsigned: false });
    let text = event_schemas(&structure, "shop.shop.tb_user", Flavor::Mariadb).expect("schemas").value;
    let row = [Cell::Int(1)];
    let event = Event {
        op: Op::Create,
        before: None,
        after: Some(&row),
        facts: facts(None, None),
        position: POSITION,
        ts_us: 0,
    };
    let null = || Value::Union(0, Box::new(Value::Null));
    let map = |name: &str| Value::Map([(name.to_owned(), Value::String("0000-00-00".into()))].into());
    for name in [structure.columns[0].name.as_str(), "nowhere"] {
        let after = Value::Union(1, Box::new(map(name)));
        let exact = Value::Union(1, Box::new(oracle::record(vec![("before", null()), ("after", after)])));
        let avro = oracle::avro(&text, oracle::envelope(&structure, &event, exact));
        let decoder = EventDecoder::compile(&text).expect("a plan");
        let error = decoder.decode(&avro, &mut vec![], &mut vec![]).expect_err("refused");
        assert_eq!(error.code(), Code::ExactUnsupported);
    }
}
