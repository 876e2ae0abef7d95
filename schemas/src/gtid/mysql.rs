//! GTIDs of MySQL, `uuid:number` or `uuid:tag:number`, and sets of them with every hole kept.
//!
//! A set holds closed intervals per source (uuid and tag) that neither overlap nor touch, so a lookup and an insertion
//! cost the logarithm of their number, however many transactions are in it.

use std::collections::BTreeMap;
use std::fmt;

use super::{invalid, number};
use crate::error::Error;

/// The largest number of a GTID that a server gives out.
const MAX_NUMBER: u64 = i64::MAX as u64 - 1;
/// The longest tag in characters.
const MAX_TAG: usize = 32;

/// A MySQL server's uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// Of its sixteen bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes.
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Uuid {
    type Err = Error;

    /// Thirty-two hex digits, with hyphens or without, as the server takes them.
    fn from_str(s: &str) -> Result<Self, Error> {
        let wrong = || invalid(format!("{s:?} is not the uuid of a server"));
        let lengths: Vec<usize> = s.split('-').map(str::len).collect();
        if lengths != [8, 4, 4, 4, 12] && lengths != [32] {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        let mut digits = s.bytes().filter(|b| *b != b'-').map(|b| char::from(b).to_digit(16));
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else { return Err(wrong()) };
            *byte = u8::try_from(high * 16 + low).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

/// A tag of a GTID (MySQL 8.3 and later), lower-case; empty for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag([u8; MAX_TAG]);

impl Tag {
    /// Of its text, in either case; the empty text is no tag.
    ///
    /// # Errors
    /// `OT1001` when it is not 1 to 32 letters, digits and underscores that begin with no digit.
    pub fn new(text: &str) -> Result<Self, Error> {
        let fits = |(i, b): (usize, u8)| b.is_ascii_alphabetic() || b == b'_' || (i > 0 && b.is_ascii_digit());
        if text.len() > MAX_TAG || !text.bytes().enumerate().all(fits) {
            return Err(invalid(format!("{text:?} is not the tag of a GTID")));
        }
        let mut bytes = [0; MAX_TAG];
        bytes[..text.len()].copy_from_slice(text.to_ascii_lowercase().as_bytes());
        Ok(Self(bytes))
    }

    /// Its text; empty for none.
    pub fn as_str(&self) -> &str {
        let length = self.0.iter().position(|b| *b == 0).unwrap_or(MAX_TAG);
        // Only ASCII was let in.
        std::str::from_utf8(&self.0[..length]).unwrap_or_default()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

/// What gives out numbers: a server, and within it a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GtidSource {
    /// The server where the transaction was first committed.
    pub uuid: Uuid,
    /// The tag; empty for none.
    pub tag: Tag,
}

/// A MySQL GTID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MysqlGtid {
    /// Server and tag.
    pub source: GtidSource,
    /// The number, from 1.
    pub number: u64,
}

impl fmt::Display for MysqlGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.uuid.fmt(f)?;
        if !self.source.tag.is_empty() {
            write!(f, ":{}", self.source.tag.as_str())?;
        }
        write!(f, ":{}", self.number)
    }
}

/// Numbers of one source: closed intervals, start → end, that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    fn contains(&self, start: u64, end: u64) -> bool {
        self.0.range(..=start).next_back().is_some_and(|(_, last)| *last >= end)
    }

    /// Adds `start..=end`, joining what overlaps or touches.
    fn add(&mut self, mut start: u64, mut end: u64) {
        if let Some((before, last)) = self.0.range(..=start).next_back().map(|(s, e)| (*s, *e))
            && last.saturating_add(1) >= start
        {
            (start, end) = (before, end.max(last));
        }
        while let Some((after, last)) = self.0.range(start..=end.saturating_add(1)).next().map(|(s, e)| (*s, *e)) {
            end = end.max(last);
            self.0.remove(&after);
        }
        self.0.insert(start, end);
    }

    /// What of these is not in `other`.
    fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (&start, &end) in &self.0 {
            let mut from = start;
            let first = other.0.range(..=start).next_back().map_or(start, |(s, _)| *s);
            for (&gone, &last) in other.0.range(first..=end) {
                if gone > from {
                    left.0.insert(from, gone - 1);
                }
                from = from.max(last.saturating_add(1));
            }
            if from <= end {
                left.0.insert(from, end);
            }
        }
        left
    }
}

/// A set of MySQL GTIDs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct GtidSet(BTreeMap<GtidSource, Intervals>);

impl GtidSet {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, gtid: &MysqlGtid) -> bool {
        self.0.get(&gtid.source).is_some_and(|held| held.contains(gtid.number, gtid.number))
    }

    pub(super) fn add(&mut self, gtid: MysqlGtid) {
        self.add_interval(gtid.source, gtid.number, gtid.number);
    }

    pub(super) fn add_interval(&mut self, source: GtidSource, start: u64, end: u64) {
        self.0.entry(source).or_default().add(start, end);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (source, intervals) in &other.0 {
            let held = self.0.entry(*source).or_default();
            intervals.0.iter().for_each(|(start, end)| held.add(*start, *end));
        }
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        let left = self.0.iter().map(|(source, held)| match other.0.get(source) {
            Some(gone) => (*source, held.without(gone)),
            None => (*source, held.clone()),
        });
        Self(left.filter(|(_, left)| !left.0.is_empty()).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (GtidSource, impl Iterator<Item = (u64, u64)>)> {
        self.0.iter().map(|(source, intervals)| (*source, intervals.0.iter().map(|(start, end)| (*start, *end))))
    }

    /// Takes one part of a text, between commas: a uuid, then intervals and tags, a tag being of the intervals behind it.
    pub(super) fn read_part(&mut self, part: &str) -> Result<(), Error> {
        let mut fields = part.split(':').map(str::trim);
        let uuid = fields.next().unwrap_or_default().parse()?;
        let mut source = GtidSource { uuid, tag: Tag::default() };
        let mut bare = true;
        for field in fields {
            if field.starts_with(|c: char| c.is_ascii_digit()) {
                let (start, end) = interval(field)?;
                self.add_interval(source, start, end);
                bare = false;
            } else if field.is_empty() {
                return Err(invalid(format!("{part:?} has an empty part")));
            } else {
                source.tag = Tag::new(field)?;
                bare = true;
            }
        }
        if bare {
            return Err(invalid(format!("{part:?} names no transactions; a GTID set looks like uuid:1-5:8")));
        }
        Ok(())
    }
}

/// `5` or `1-5`.
fn interval(text: &str) -> Result<(u64, u64), Error> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(start.trim())?, number(end.trim())?);
    if start == 0 || end < start || end > MAX_NUMBER {
        return Err(invalid(format!("{text:?} is not an interval of a GTID set")));
    }
    Ok((start, end))
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut uuid = None;
        for (source, intervals) in &self.0 {
            if uuid != Some(source.uuid) {
                f.write_str(if uuid.is_some() { "," } else { "" })?;
                source.uuid.fmt(f)?;
                uuid = Some(source.uuid);
            }
            if !source.tag.is_empty() {
                write!(f, ":{}", source.tag.as_str())?;
            }
            for (start, end) in &intervals.0 {
                if start == end {
                    write!(f, ":{start}")?;
                } else {
                    write!(f, ":{start}-{end}")?;
                }
            }
        }
        Ok(())
    }
}

/// `uuid:5` or `uuid:tag:5`.
pub(super) fn read_gtid(text: &str) -> Result<MysqlGtid, Error> {
    let mut set = GtidSet::default();
    set.read_part(text)?;
    let mut found = set.iter().flat_map(|(source, intervals)| intervals.map(move |i| (source, i)));
    match (found.next(), found.next()) {
        (Some((source, (start, end))), None) if start == end => Ok(MysqlGtid { source, number: start }),
        _ => Err(invalid(format!("{text:?} is a set of GTIDs, not one"))),
    }
}
