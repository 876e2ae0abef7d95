//! A compressed transaction (MySQL's TRANSACTION_PAYLOAD): its events, one at a time.
//!
//! Nothing that the payload says about itself is believed. It is decompressed as a stream, so that memory holds one event
//! and the decompressor's window, and what comes out must be exactly as long as announced: a payload that is cut, damaged
//! or followed by something is an error, before the event that ends the transaction is handed out. The events count for
//! ordinals as if they stood in the binlog themselves.

use std::io::Read;

use bytes::Bytes;
use schemas::{Code, Error, Result};

use super::cursor::Cursor;
use super::event::{HEADER_LENGTH, MAX_EVENT, RawEvent, kind};

/// The largest window that servers compress with, as a power of two.
const MAX_WINDOW: u32 = 27;

/// How the events are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Zstd,
    None,
}

/// The payload as it is in the event.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    raw: &'a RawEvent,
    packing: Packing,
    /// Bytes of all events together, unpacked, as announced.
    size: u64,
    packed: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Takes the event's fields apart.
    pub(super) fn read(raw: &'a RawEvent) -> Option<Self> {
        const END: u64 = 0;
        const PACKED_SIZE: u64 = 1;
        const PACKING: u64 = 2;
        const SIZE: u64 = 3;

        let mut fields = Cursor::new(&raw.body);
        let (mut packing, mut size, mut packed_size) = (None, None, None);
        loop {
            let field = fields.lenenc()?;
            if field == END {
                break;
            }
            let mut value = Cursor::new(fields.lenenc_bytes()?);
            match field {
                PACKED_SIZE => packed_size = Some(value.lenenc()?),
                SIZE => size = Some(value.lenenc()?),
                PACKING => {
                    packing = Some(match value.lenenc()? {
                        0 => Packing::Zstd,
                        255 => Packing::None,
                        _ => return None,
                    });
                }
                _ => {} // of a newer server, made to be passed over
            }
        }
        let packed = fields.rest();
        let packing = packing?;
        let unpacked = if packing == Packing::None { Some(packed.len() as u64) } else { None };
        let whole = packed_size.is_none_or(|announced| announced == packed.len() as u64);
        whole.then_some(Self { raw, packing, size: size.or(unpacked)?, packed })
    }

    /// Bytes of all events together, unpacked, as announced.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Begins to unpack.
    ///
    /// # Errors
    /// `BinlogCorrupt` (OT3005) when the decompressor cannot be set up.
    pub fn events(self) -> Result<Events<'a>> {
        let reader: Box<dyn Read + 'a> = match self.packing {
            Packing::None => Box::new(self.packed),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(self.packed).map_err(|e| self.broken(&e))?;
                decoder.window_log_max(MAX_WINDOW).map_err(|e| self.broken(&e))?;
                Box::new(decoder)
            }
        };
        Ok(Events { payload: self, reader, passed: 0, ended: false })
    }

    fn corrupt(&self, what: &str) -> Error {
        let message = format!("the compressed transaction ending at {}: {what}", self.raw.log_pos);
        Error::new(Code::BinlogCorrupt, message)
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        self.corrupt(&format!("it cannot be decompressed ({error})"))
    }
}

/// The events of a compressed transaction, each ending where the compressed event ends.
///
/// An error is `BinlogCorrupt` (OT3005), and the last item.
pub struct Events<'a> {
    payload: Payload<'a>,
    reader: Box<dyn Read + 'a>,
    /// Bytes unpacked so far.
    passed: u64,
    ended: bool,
}

impl Iterator for Events<'_> {
    type Item = Result<RawEvent>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl std::fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("payload", &self.payload).field("passed", &self.passed).finish_non_exhaustive()
    }
}

impl Events<'_> {
    fn read(&mut self) -> Result<Option<RawEvent>> {
        if self.passed == self.payload.size {
            self.check_end()?;
            return Ok(None);
        }
        let header = self.take(HEADER_LENGTH)?;
        let event = self.event(&header)?;
        if self.passed == self.payload.size {
            self.check_end()?;
        } else if event.event_type == kind::XID {
            return Err(self.payload.corrupt("events follow its commit"));
        }
        Ok(Some(event))
    }

    fn event(&mut self, header: &[u8]) -> Result<RawEvent> {
        let mut fields = Cursor::new(header);
        let (Some(timestamp), Some(event_type), Some(server_id), Some(size), Some(_), Some(flags)) =
            (fields.u32(), fields.u8(), fields.u32(), fields.u32(), fields.u32(), fields.u16())
        else {
            return Err(self.payload.corrupt("it ends in the middle of an event"));
        };
        let length = usize::try_from(size).ok().and_then(|size| size.checked_sub(HEADER_LENGTH));
        let Some(length) = length.filter(|length| *length <= MAX_EVENT) else {
            return Err(self.payload.corrupt(&format!("an event in it has {size} bytes")));
        };
        if !may_be_inside(event_type) {
            return Err(self.payload.corrupt(&format!("an event of type {event_type} is in it")));
        }
        let body = Bytes::from(self.take(length)?);
        Ok(RawEvent { event_type, timestamp, server_id, log_pos: self.payload.raw.log_pos, flags, body })
    }

    /// Exactly so many bytes. The buffer grows with what comes, not with what was announced.
    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        let left = self.payload.size - self.passed;
        if length as u64 > left {
            let what = format!("an event of at least {length} bytes where {left} are left of {}", self.payload.size);
            return Err(self.payload.corrupt(&what));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(length as u64).read_to_end(&mut bytes);
        read.map_err(|e| self.payload.broken(&e))?;
        if bytes.len() < length {
            let what = format!("{} bytes instead of {}", self.passed + bytes.len() as u64, self.payload.size);
            return Err(self.payload.corrupt(&what));
        }
        self.passed += length as u64;
        Ok(bytes)
    }

    /// Nothing may follow what was announced.
    fn check_end(&mut self) -> Result<()> {
        match self.reader.read(&mut [0]).map_err(|e| self.payload.broken(&e))? {
            0 => Ok(()),
            _ => Err(self.payload.corrupt(&format!("it is longer than {} bytes", self.payload.size))),
        }
    }
}

/// Whether servers put such events into compressed transactions: what stands between the GTID and the commit.
pub(super) fn may_be_inside(event_type: u8) -> bool {
    !matches!(
        event_type,
        kind::MYSQL_GTID
            | kind::ANONYMOUS_GTID
            | kind::TAGGED_GTID
            | kind::GTID
            | kind::GTID_LIST
            | kind::PREVIOUS_GTIDS
            | kind::FORMAT_DESCRIPTION
            | kind::ROTATE
            | kind::STOP
            | kind::HEARTBEAT
            | kind::HEARTBEAT_V2
            | kind::TRANSACTION_PAYLOAD
    )
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::event::Event;
    use super::*;

    fn inner(event_type: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![9, 0, 0, 0, event_type, 7, 0, 0, 0];
        bytes.extend_from_slice(&u32::try_from(HEADER_LENGTH + body.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn transaction() -> Vec<u8> {
        let mut events = inner(kind::QUERY, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0BEGIN");
        for size in [0_usize, 10, 70_000] {
            events.extend(inner(kind::WRITE_ROWS, &vec![5; size]));
        }
        events.extend(inner(kind::XID, &[1; 8]));
        events
    }

    fn field(to: &mut Vec<u8>, number: u8, value: u64) {
        to.extend_from_slice(&[number, 9, 0xfe]);
        to.extend_from_slice(&value.to_le_bytes());
    }

    fn raw(packing: u64, size: u64, packed: &[u8]) -> RawEvent {
        let mut body = Vec::new();
        field(&mut body, 2, packing);
        field(&mut body, 3, size);
        field(&mut body, 1, packed.len() as u64);
        body.push(0);
        body.extend_from_slice(packed);
        let body = Bytes::from(body);
        RawEvent { event_type: kind::TRANSACTION_PAYLOAD, timestamp: 1, server_id: 7, log_pos: 99, flags: 0, body }
    }

    fn unpack(raw: &RawEvent) -> Result<Vec<RawEvent>> {
        let Event::Payload(payload) = raw.parse()? else { panic!("no payload") };
        payload.events()?.collect()
    }

    fn refused(raw: &RawEvent) -> String {
        let error = unpack(raw).expect_err("it was taken");
        assert_eq!(error.code(), Code::BinlogCorrupt);
        error.message().to_owned()
    }

    #[test]
    fn both_packings_give_the_events() {
        let plain = transaction();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        for raw in [raw(0, plain.len() as u64, &packed), raw(255, plain.len() as u64, &plain)] {
            let events = unpack(&raw).unwrap();
            let types: Vec<_> = events.iter().map(|e| (e.event_type, e.body.len(), e.log_pos, e.server_id)).collect();
            assert_eq!(types, [(2, 19, 99, 7), (30, 0, 99, 7), (30, 10, 99, 7), (30, 70_000, 99, 7), (16, 8, 99, 7)]);
        }
    }

    #[test]
    fn a_payload_that_lies_about_its_size_is_refused_before_its_commit() {
        let plain = transaction();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        for wrong in [0, 1, plain.len() as u64 - 1, plain.len() as u64 + 1, u64::MAX] {
            let raw = raw(0, wrong, &packed);
            let Event::Payload(payload) = raw.parse().unwrap() else { panic!("no payload") };
            let mut events: Vec<_> = payload.events().unwrap().collect();
            let last = events.pop().expect("nothing at all came out");
            assert_eq!(last.expect_err("it ended well").code(), Code::BinlogCorrupt, "{wrong}");
            assert!(events.into_iter().all(|event| event.unwrap().event_type != kind::XID), "{wrong}");
        }
        assert!(refused(&raw(0, plain.len() as u64, &[&packed[..], b"more"].concat())).contains("decompressed"));
        let twice = [&packed[..], &packed[..]].concat();
        assert!(refused(&raw(0, plain.len() as u64, &twice)).contains("longer than"));
    }

    #[test]
    fn what_cannot_be_in_a_transaction_is_refused() {
        for event_type in [kind::MYSQL_GTID, kind::TRANSACTION_PAYLOAD, kind::ROTATE, kind::FORMAT_DESCRIPTION] {
            let plain = [inner(event_type, &[0; 60]), transaction()].concat();
            assert!(refused(&raw(255, plain.len() as u64, &plain)).contains("of type"));
        }
        let plain = [transaction(), inner(kind::WRITE_ROWS, b"late")].concat();
        assert!(refused(&raw(255, plain.len() as u64, &plain)).contains("follow its commit"));
        let mut short = inner(kind::XID, &[0; 8]);
        short[9] = 18;
        assert!(refused(&raw(255, short.len() as u64, &short)).contains("18 bytes"));
    }

    #[test]
    fn an_event_that_claims_gigabytes_costs_none() {
        let mut huge = inner(kind::WRITE_ROWS, b"x");
        huge[9..13].copy_from_slice(&(1_u32 << 30).to_le_bytes());
        let packed = zstd::encode_all(&huge[..], 3).unwrap();
        assert!(refused(&raw(0, u64::MAX, &packed)).contains("instead of"));
        huge[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        let packed = zstd::encode_all(&huge[..], 3).unwrap();
        assert!(refused(&raw(0, u64::MAX, &packed)).contains("has 4294967295 bytes"));
    }

    /// Whatever is cut off or flipped: the transaction comes out whole, or its commit does not come out.
    #[test]
    fn damage_never_loses_a_row_silently() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let plain = transaction();
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        for (packing, packed) in [(0, &packed), (255, &plain)] {
            let whole = raw(packing, plain.len() as u64, packed);
            for _ in 0..3_000 {
                let mut body = whole.body.to_vec();
                if random.random() {
                    body.truncate(random.random_range(0..body.len()));
                } else {
                    let at = random.random_range(0..body.len().min(400));
                    body[at] ^= 1 << random.random_range(0..8);
                }
                let damaged = RawEvent { body: Bytes::from(body), ..whole.clone() };
                // What is flipped inside a row is for the checksum around all of this to find.
                let Ok(Event::Payload(payload)) = damaged.parse() else { continue };
                let events: Vec<RawEvent> = payload.events().unwrap().map_while(Result::ok).collect();
                let bytes: usize = events.iter().map(|event| HEADER_LENGTH + event.body.len()).sum();
                let committed = events.iter().any(|event| event.event_type == kind::XID);
                assert!(!committed || bytes == plain.len(), "its commit came out behind {bytes} bytes");
            }
        }
    }

    #[test]
    fn hostile_bytes_give_an_error_at_worst() {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..50_000 {
            let length = random.random_range(0..80);
            let body: Vec<u8> = (0..length).map(|_| random.random_range(0..16) * random.random_range(0..17)).collect();
            let mut hostile = raw(u64::from(random.random::<bool>()) * 255, random.random_range(0..100), &body);
            if random.random() {
                hostile.body = Bytes::from(body);
            }
            if let Err(error) = unpack(&hostile) {
                assert_eq!(error.code(), Code::BinlogCorrupt);
            }
        }
    }
}
