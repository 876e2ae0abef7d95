//! MySQL's binary form of GTID sets: in PREVIOUS_GTIDS events, and as the packet that asks for a dump takes them.
//!
//! Eight bytes hold the number of sources and, in the highest byte, the format: 0 without tags, 1 (8.3 and later) with a
//! tag per source, which keeps the number one byte higher.

use std::collections::BTreeMap;

use mysql_common::packets::{GnoInterval, Sid, Tag as WireTag};
use schemas::gtid::{GtidPosition, GtidSource, Tag, Uuid};
use schemas::{Code, Error, Result};

use super::cursor::Cursor;

/// Reads the body of a PREVIOUS_GTIDS event; `None` where it does not hold what it promises.
pub(super) fn read(body: &[u8]) -> Option<GtidPosition> {
    let mut fields = Cursor::new(body);
    let header = fields.u64()?;
    let tagged = match header >> 56 {
        0 => false,
        1 => true,
        _ => return None,
    };
    let count = if tagged { (header >> 8) & 0xffff_ffff_ffff } else { header };
    let mut set = GtidPosition::default();
    for _ in 0..count {
        let uuid = Uuid::new(fields.take(16)?.try_into().ok()?);
        let tag = if tagged { read_tag(&mut fields)? } else { Tag::default() };
        for _ in 0..fields.u64()? {
            let (start, end) = (fields.u64()?, fields.u64()?);
            let last = end.checked_sub(1).filter(|last| *last >= start && start > 0)?;
            set.add_interval(GtidSource { uuid, tag }, start, last);
        }
    }
    Some(set)
}

fn read_tag(fields: &mut Cursor<'_>) -> Option<Tag> {
    // The length is of the server's variable-length kind, whose one-byte form is twice the value.
    let length = usize::from(fields.u8()?);
    let text = fields.take((length % 2 == 0).then_some(length / 2)?)?;
    Tag::new(std::str::from_utf8(text).ok()?).ok()
}

/// The sources of a set as mysql_async asks for them.
///
/// # Errors
/// `CaptureFailed` when the library does not take a tag that the server gave.
pub(super) fn sids(set: &GtidPosition) -> Result<Vec<Sid<'static>>> {
    let mut sources: BTreeMap<GtidSource, Vec<GnoInterval>> = BTreeMap::new();
    for (source, intervals) in set.intervals() {
        sources.entry(source).or_default().extend(intervals.map(|(start, last)| GnoInterval::new(start, last + 1)));
    }
    let sid = |(source, intervals): (GtidSource, Vec<GnoInterval>)| {
        let sid = Sid::new(source.uuid.bytes()).with_intervals(intervals);
        if source.tag.is_empty() {
            return Ok(sid);
        }
        let tag = WireTag::new(source.tag.as_str().to_owned()).map_err(|e| {
            let message = format!("the tag {} of a GTID is not taken by the client library: {e}", source.tag.as_str());
            Error::new(Code::CaptureFailed, message)
        })?;
        Ok(sid.with_tag(tag))
    };
    sources.into_iter().map(sid).collect()
}

#[cfg(test)]
mod tests {
    use mysql_common::packets::ComBinlogDumpGtid;
    use mysql_common::proto::MySerialize;

    use super::*;

    #[test]
    fn what_is_asked_for_is_what_is_listed() {
        let a = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        for text in [String::new(), format!("{a}:1-5:8"), format!("{a}:1-5:8:tag_1:2:7-9")] {
            let set: GtidPosition = text.parse().unwrap();
            let packet = ComBinlogDumpGtid::new(1).with_sids(sids(&set).unwrap());
            let mut bytes = Vec::new();
            packet.serialize(&mut bytes);
            // Behind command, flags, server_id, the empty file's length, position and the length of the set.
            assert_eq!(read(&bytes[1 + 2 + 4 + 4 + 8 + 4..]), Some(set), "{text}");
        }
    }

    #[test]
    fn cut_lists_are_no_lists() {
        let set: GtidPosition = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:8".parse().unwrap();
        let mut bytes = Vec::new();
        ComBinlogDumpGtid::new(1).with_sids(sids(&set).unwrap()).serialize(&mut bytes);
        let list = &bytes[23..];
        assert!((0..list.len()).all(|end| read(&list[..end]).is_none()));
    }
}
