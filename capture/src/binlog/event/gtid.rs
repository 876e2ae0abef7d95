//! The events that begin an event group: MariaDB's GTID, MySQL's GTID, ANONYMOUS_GTID and GTID_TAGGED_LOG.
//!
//! Every function answers `None` where the bytes don't hold what the type promises.

use schemas::gtid::{Gtid, Tag, Uuid};

use super::super::cursor::Cursor;
use super::{AlterPhase, GtidEvent, RawEvent};

/// MariaDB's GTID event.
pub(super) fn mariadb(raw: &RawEvent) -> Option<GtidEvent> {
    const STANDALONE: u8 = 1;
    const GROUP_COMMIT_ID: u8 = 2;
    const TRANSACTIONAL: u8 = 4;
    const DDL: u8 = 32;
    const PREPARED_XA: u8 = 64;
    const COMPLETED_XA: u8 = 128;

    let mut fields = Cursor::new(&raw.body);
    let sequence = fields.u64()?;
    let domain = fields.u32()?;
    let flags = fields.u8()?;
    if flags & GROUP_COMMIT_ID != 0 {
        fields.u64()?;
    }
    if flags & (PREPARED_XA | COMPLETED_XA) != 0 {
        fields.u32()?;
        let length = usize::from(fields.u8()?) + usize::from(fields.u8()?);
        fields.take(length)?;
    }
    // More flags, or the zeros that fill a short event up to 19 bytes, or nothing.
    let alter_phase = match fields.u8().unwrap_or(0) {
        extra if extra & 2 != 0 => Some(AlterPhase::Start),
        extra if extra & 4 != 0 => Some(AlterPhase::Commit),
        extra if extra & 8 != 0 => Some(AlterPhase::Rollback),
        _ => None,
    };
    Some(GtidEvent {
        gtid: Some(Gtid::mariadb(domain, raw.server_id, sequence)),
        standalone: Some(flags & STANDALONE != 0),
        ddl: flags & DDL != 0,
        transactional: flags & TRANSACTIONAL != 0,
        xa_prepared: flags & PREPARED_XA != 0,
        xa_completed: flags & COMPLETED_XA != 0,
        alter_phase,
        committed_us: None,
    })
}

/// What MySQL's events say, whatever their format.
#[derive(Debug, Default)]
struct Fields {
    uuid: [u8; 16],
    tag: Tag,
    number: u64,
    committed_here: Option<u64>,
    committed_first: Option<u64>,
}

impl Fields {
    fn event(self, anonymous: bool) -> GtidEvent {
        GtidEvent {
            gtid: (!anonymous).then(|| Gtid::mysql(Uuid::new(self.uuid), self.tag, self.number)),
            standalone: None,
            ddl: false,
            transactional: true,
            xa_prepared: false,
            xa_completed: false,
            alter_phase: None,
            committed_us: self.committed_first.or(self.committed_here).filter(|us| *us != 0),
        }
    }
}

/// MySQL's GTID event, and the anonymous one of the same layout. What older servers leave out at the end may be missing.
pub(super) fn mysql(body: &[u8], anonymous: bool) -> Option<GtidEvent> {
    /// What stands before the logical timestamps of servers from 5.7 on.
    const LOGICAL_TIMESTAMPS: u8 = 2;
    const COMMITTED_ELSEWHERE: u64 = 1 << 55;

    let mut fields = Cursor::new(body);
    fields.u8()?; // flags: whether statements may have been logged as such
    let uuid = fields.array()?;
    let number = fields.u64()?;
    let mut found = Fields { uuid, number, ..Fields::default() };
    if !fields.is_empty() && fields.u8()? == LOGICAL_TIMESTAMPS {
        fields.take(16)?;
        if !fields.is_empty() {
            let here = fields.u56()?;
            found.committed_here = Some(here & !COMMITTED_ELSEWHERE);
            if here & COMMITTED_ELSEWHERE != 0 {
                found.committed_first = Some(fields.u56()?);
            }
        }
    }
    (anonymous || found.number > 0).then(|| found.event(anonymous))
}

/// MySQL's event of a tagged GTID: numbered fields in the server's own serialisation, of which version 1 exists.
pub(super) fn tagged(body: &[u8]) -> Option<GtidEvent> {
    const VERSION: u64 = 1;
    const NUMBERS: std::ops::RangeInclusive<u64> = 8..=11;

    let mut fields = Cursor::new(body);
    if fields.varlen()? != VERSION {
        return None;
    }
    let size = usize::try_from(fields.varlen()?).ok()?;
    let last_needed = fields.varlen()?;
    // the size counts everything from the version on
    let left = size.checked_sub(body.len() - fields.rest().len())?;
    let mut fields = Cursor::new(fields.take(left)?);
    let mut found = Fields::default();
    while !fields.is_empty() {
        match fields.varlen()? {
            0 => drop(fields.varlen()?), // flags
            1 => {
                for byte in &mut found.uuid {
                    *byte = u8::try_from(fields.varlen()?).ok()?;
                }
            }
            2 => found.number = unsigned(fields.varlen()?)?,
            3 => {
                let length = usize::try_from(fields.varlen()?).ok()?;
                found.tag = Tag::new(std::str::from_utf8(fields.take(length)?).ok()?).ok()?;
            }
            4 | 5 => drop(fields.varlen()?), // logical timestamps
            6 => found.committed_here = Some(fields.varlen()?),
            7 => found.committed_first = Some(fields.varlen()?),
            known if NUMBERS.contains(&known) => drop(fields.varlen()?),
            // Of a newer server. What it needs to be understood is not known here; the rest has no length to skip by.
            unknown if unknown <= last_needed => return None,
            _ => break,
        }
    }
    (found.number > 0).then(|| found.event(false))
}

/// A signed number of the serialisation (the sign is its lowest bit) that must not be negative.
fn unsigned(encoded: u64) -> Option<u64> {
    (encoded & 1 == 0).then_some(encoded >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] =
        [0x14, 0x1e, 0x51, 0x55, 0xe6, 0x7b, 0x11, 0xf1, 0x9c, 0x88, 0x02, 0xfc, 0x00, 0x00, 0x00, 0x01];

    fn varlen(value: u64, to: &mut Vec<u8>) {
        let bits = 64 - value.leading_zeros().min(63);
        let extra = (bits - 1) / 7;
        if extra >= 8 {
            to.push(0xff);
            to.extend_from_slice(&value.to_le_bytes());
            return;
        }
        let encoded = (u128::from(value) << (extra + 1)) | ((1 << extra) - 1);
        to.extend_from_slice(&encoded.to_le_bytes()[..=extra as usize]);
    }

    fn tagged_body(fields: &[u8], last_needed: u64) -> Vec<u8> {
        let mut body = Vec::new();
        let mut size = fields.len() as u64;
        while body.len() as u64 + fields.len() as u64 != size || body.is_empty() {
            size = size.max((body.len() + fields.len()) as u64);
            body.clear();
            varlen(1, &mut body);
            varlen(size, &mut body);
            varlen(last_needed, &mut body);
        }
        body.extend_from_slice(fields);
        body
    }

    #[test]
    fn numbers_of_the_serialisation_are_read_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, (1 << 55) - 1, 1 << 56, 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            varlen(value, &mut bytes);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.varlen(), Some(value));
            assert!(cursor.is_empty());
            assert_eq!(Cursor::new(&bytes[..bytes.len() - 1]).varlen(), None);
        }
    }

    #[test]
    fn mysql_s_gtid_carries_the_first_commit_s_time() {
        let mut body = vec![0];
        body.extend_from_slice(&UUID);
        body.extend_from_slice(&42_u64.to_le_bytes());
        let old = mysql(&body, false).unwrap();
        assert_eq!(old.gtid.unwrap().to_string(), "141e5155-e67b-11f1-9c88-02fc00000001:42");
        assert_eq!((old.standalone, old.committed_us), (None, None));
        body.push(2);
        body.extend_from_slice(&[0; 16]);
        let here = 1_700_000_000_000_000_u64;
        let mut local = body.clone();
        local.extend_from_slice(&here.to_le_bytes()[..7]);
        assert_eq!(mysql(&local, false).unwrap().committed_us, Some(here));
        body.extend_from_slice(&(here | 1 << 55).to_le_bytes()[..7]);
        assert!(mysql(&body, false).is_none(), "the time that is announced is missing");
        body.extend_from_slice(&(here - 5).to_le_bytes()[..7]);
        assert_eq!(mysql(&body, false).unwrap().committed_us, Some(here - 5));
        assert!(mysql(&body, true).unwrap().gtid.is_none());
        assert!(mysql(&body[..24], false).is_none());
    }

    /// As MySQL 9.7.4 wrote it for `gtid_next='automatic:tagged'`.
    #[test]
    fn a_tagged_gtid_of_a_server_is_read() {
        let body = b"\x02\x72\0\0\0\x02\x28\x3c\xa2\xaa\x99\x03\xf6\x22\xc5\x03\x71\x02\x21\x02\x04\xf1\x03\0\0\0\
            \x02\x04\x04\x06\x0c\x74\x61\x67\x67\x65\x64\x08\x24\x0a\x2c\x0c\x7f\x86\x0d\x7e\xda\xdd\x60\x06\x10\
            \xdd\x04\x12\x83\x12\x0b";
        let event = tagged(body).unwrap();
        assert_eq!(event.gtid.unwrap().to_string(), "141e5155-e67b-11f1-9c88-02fc00000001:tagged:1");
        assert_eq!(event.committed_us, Some(0x06_60dd_da7e_0d86));
    }

    #[test]
    fn tagged_gtids_are_read_and_newer_fields_passed_where_they_may_be() {
        let mut fields = Vec::new();
        for (id, value) in [(0, 1), (2, 7 << 1), (4, 0), (5, 0), (6, 1_700_000_000_000_000), (8, 300), (9, 90_704)] {
            varlen(id, &mut fields);
            varlen(value, &mut fields);
        }
        varlen(1, &mut fields);
        UUID.iter().for_each(|byte| varlen(u64::from(*byte), &mut fields));
        varlen(3, &mut fields);
        varlen(6, &mut fields);
        fields.extend_from_slice(b"tagged");
        let event = tagged(&tagged_body(&fields, 9)).unwrap();
        assert_eq!(event.gtid.unwrap().to_string(), "141e5155-e67b-11f1-9c88-02fc00000001:tagged:7");
        assert_eq!(event.committed_us, Some(1_700_000_000_000_000));
        varlen(99, &mut fields);
        fields.extend_from_slice(b"whatever");
        assert!(tagged(&tagged_body(&fields, 9)).unwrap().gtid.is_some());
        assert!(tagged(&tagged_body(&fields, 99)).is_none(), "a field that has to be understood");
        let body = tagged_body(&fields, 9);
        for cut in 0..body.len() {
            assert!(tagged(&body[..cut]).is_none(), "cut at {cut}");
        }
    }
}
