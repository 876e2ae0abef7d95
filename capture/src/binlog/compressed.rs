//! MariaDB's compressed events (`log_bin_compress`): the same events with the statement's text or the row images packed.
//!
//! They are unpacked before anything else looks at them, so that nothing further knows of compression, ordinals least of
//! all. The size that the event announces is not believed: memory grows with what comes out, up to what it says.

use std::io::Read;

use bytes::Bytes;
use flate2::read::ZlibDecoder;

use super::cursor::Cursor;
use super::event::{Event, MAX_EVENT, RawEvent, kind};

/// The type that the event has without compression.
pub(super) fn plain_type(event_type: u8) -> Option<u8> {
    Some(match event_type {
        kind::QUERY_COMPRESSED => kind::QUERY,
        166 => kind::WRITE_ROWS_V1,
        167 => kind::UPDATE_ROWS_V1,
        168 => kind::DELETE_ROWS_V1,
        169 => kind::WRITE_ROWS,
        170 => kind::UPDATE_ROWS,
        kind::DELETE_ROWS_COMPRESSED => kind::DELETE_ROWS,
        _ => return None,
    })
}

/// The event of this type without compression; none where the bytes are not what they should be.
pub(super) fn unpack(raw: &RawEvent, plain_type: u8) -> Option<RawEvent> {
    let packed = RawEvent { event_type: plain_type, ..raw.clone() };
    let length = match packed.parse().ok()? {
        Event::Rows(rows) => rows.rows.len(),
        Event::Query(query) => query.sql.len(),
        _ => return None,
    };
    let (head, tail) = raw.body.split_at_checked(raw.body.len().checked_sub(length)?)?;
    let mut body = head.to_vec();
    if !tail.is_empty() {
        inflate(tail, &mut body)?;
    }
    Some(RawEvent { body: Bytes::from(body), ..packed })
}

/// A head byte (its top bit set, then the algorithm, then the number of bytes of the size), the size, most significant byte
/// first, and zlib's stream.
fn inflate(packed: &[u8], to: &mut Vec<u8>) -> Option<()> {
    const ZLIB: u8 = 0;

    let mut fields = Cursor::new(packed);
    let head = fields.u8()?;
    let width = usize::from(head & 7);
    if head & 0x80 == 0 || (head >> 4) & 7 != ZLIB || !(1..=4).contains(&width) {
        return None;
    }
    let size = fields.take(width)?.iter().fold(0, |size: usize, byte| size << 8 | usize::from(*byte));
    if size > MAX_EVENT {
        return None;
    }
    let before = to.len();
    let mut decoder = ZlibDecoder::new(fields.rest());
    (&mut decoder).take(size as u64).read_to_end(to).ok()?;
    let whole = to.len() - before == size && decoder.read(&mut [0]).ok()? == 0;
    (whole && decoder.total_in() == fields.rest().len() as u64).then_some(())
}

#[cfg(test)]
mod tests {
    use super::super::event::RowsKind;
    use super::*;
    use schemas::Code;

    /// The CREATE TABLE and the DELETE of nine rows that MariaDB 10.11 wrote.
    const QUERY: &str = "070000000000000001000023000000000001010000205400000000060373746404210021002d00810f00000000000000\
                         6300812b789c4b2e4a4d2c495528494cca01920a1a99290a9979250a054599b98945950ad9a9953a0ac50a25a915259a\
                         004f1e0f0b";
    const DELETE: &str = "1200000000000100020382025b789cfbc3c8c0c060c3504901f8c344b911cc941bc142b911ac941bc146b911ec941b\
                          c141b9119c141b01002b170a71";

    fn raw(event_type: u8, hex: &str) -> RawEvent {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        let body: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
        RawEvent { event_type, timestamp: 0, server_id: 1, log_pos: 4, flags: 0, body: Bytes::from(body) }
    }

    #[test]
    fn events_of_a_server_are_unpacked() {
        let query = raw(kind::QUERY_COMPRESSED, QUERY).plain().unwrap();
        let Event::Query(query) = query.parse().unwrap() else { panic!("no query") };
        assert_eq!((query.schema, query.sql), (&b"c"[..], &b"create table t (id int primary key, s text)"[..]));
        let rows = raw(168, DELETE).plain().unwrap();
        let Event::Rows(rows) = rows.parse().unwrap() else { panic!("no rows") };
        assert_eq!((rows.kind, rows.table_id, rows.rows.len()), (RowsKind::Delete, 18, 603));
        let other = raw(kind::XID, "0100000000000000").plain().unwrap();
        assert!(matches!(other.parse().unwrap(), Event::Xid(1)));
    }

    #[test]
    fn damage_is_refused() {
        for (event_type, hex) in [(kind::QUERY_COMPRESSED, QUERY), (168, DELETE)] {
            let whole = raw(event_type, hex);
            let refused = |body: Vec<u8>| {
                let damaged = RawEvent { body: Bytes::from(body), ..whole.clone() };
                damaged.plain().is_err_and(|error| error.code() == Code::BinlogCorrupt)
            };
            let (packed, length) = (whole.body.windows(2).rposition(|pair| pair == [0x78, 0x9c]), whole.body.len());
            for cut in packed.unwrap()..length {
                assert!(refused(whole.body[..cut].to_vec()), "cut at {cut}");
            }
            assert!(refused([&whole.body[..], b"more"].concat()));
            for at in packed.unwrap() - 2..length {
                let mut body = whole.body.to_vec();
                body[at] ^= 0x5a;
                let same = || RawEvent { body: Bytes::from(body.clone()), ..whole.clone() }.plain().unwrap().body;
                assert!(refused(body.clone()) || same() == whole.clone().plain().unwrap().body, "flipped at {at}");
            }
        }
    }
}
