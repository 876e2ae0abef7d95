//! Where in the binlog the dump is: the file, and the offset in 64 bits.

use schemas::{Code, Error, Result};

use super::event::{Event, RawEvent, kind};

const FLAG_ARTIFICIAL: u16 = 0x20;

/// The parts of an event's header that move the position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) event_type: u8,
    pub(super) flags: u16,
    pub(super) log_pos: u32,
    pub(super) size: u32,
}

/// File and offset behind the last event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) file: String,
    pub(super) offset: u64,
}

impl Position {
    /// Moves behind an event and gives its end. Artificial events, and the copy of a file's head that the server sends
    /// when a dump begins in the middle (its position is zero), leave it where it is.
    pub(super) fn advance(&mut self, header: Header) -> u64 {
        if header.flags & FLAG_ARTIFICIAL != 0 || [kind::HEARTBEAT, kind::HEARTBEAT_V2].contains(&header.event_type) {
            return self.offset;
        }
        if header.log_pos != 0 {
            let same_high_half = (self.offset & !u64::from(u32::MAX)) | u64::from(header.log_pos);
            // A long way back is a wrap; a short way back is an event that does not move the position.
            let wrapped = self.offset.saturating_sub(same_high_half) > 1 << 31;
            let end = if wrapped { same_high_half + (1 << 32) } else { same_high_half };
            self.offset = self.offset.max(end);
        } else if !matches!(header.event_type, kind::ROTATE | kind::FORMAT_DESCRIPTION | kind::GTID_LIST) {
            // Newer servers write events inside a transaction without their position.
            self.offset += u64::from(header.size);
        }
        self.offset
    }

    /// Moves to the file that a ROTATE event names.
    pub(super) fn rotate(&mut self, raw: &RawEvent) -> Result<()> {
        if let Event::Rotate { file, position } = raw.parse()? {
            self.file = file.to_owned();
            self.offset = position;
        }
        Ok(())
    }

    pub(super) fn corrupt(&self, what: &str) -> Error {
        Error::new(Code::BinlogCorrupt, format!("{what}, behind {self}"))
    }

    pub(super) fn disconnected(&self, what: &str) -> Error {
        Error::new(Code::SourceDisconnected, format!("{what}, behind {self}"))
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.file.is_empty() {
            return f.write_str("the start of the dump");
        }
        write!(f, "{}:{}", self.file, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: u8, flags: u16, log_pos: u32, size: u32) -> Header {
        Header { event_type, flags, log_pos, size }
    }

    #[test]
    fn offsets_grow_beyond_four_gigabytes() {
        let mut position = Position { file: "bin.000001".into(), offset: u64::from(u32::MAX) - 10 };
        assert_eq!(position.advance(event(kind::XID, 0, 20, 31)), (1 << 32) + 20);
        assert_eq!(position.advance(event(kind::GTID, 0, 62, 42)), (1 << 32) + 62);
    }

    #[test]
    fn made_up_events_move_nothing() {
        let mut position = Position { file: "bin.000001".into(), offset: 1000 };
        for header in [
            event(kind::ROTATE, FLAG_ARTIFICIAL, 0, 40),
            event(kind::FORMAT_DESCRIPTION, 0, 0, 250),
            event(kind::HEARTBEAT, 0, 900, 40),
            event(kind::GTID_LIST, FLAG_ARTIFICIAL, 77, 40),
            event(kind::FORMAT_DESCRIPTION, 0, 256, 250),
        ] {
            assert_eq!(position.advance(header), 1000, "{header:?}");
        }
    }

    #[test]
    fn missing_positions_are_counted() {
        let mut position = Position { file: "bin.000001".into(), offset: 1000 };
        assert_eq!(position.advance(event(kind::TABLE_MAP, 0, 0, 50)), 1050);
        assert_eq!(position.advance(event(kind::XID, 0, 1081, 31)), 1081);
    }
}
