//! XA transactions that are prepared and not yet decided.
//!
//! Their rows stand in the binlog at XA PREPARE; the XA COMMIT behind it, maybe hours later, has none. A transaction
//! prepared with rows of followed tables stops the source. One without is remembered until it is decided, so that an
//! XA COMMIT whose PREPARE was never seen, because it lies before the start, is told from it: that one may have rows
//! that nobody published, and stops the source.

use schemas::checkpoint::Checkpoint;
use schemas::{Code, Error, Result};

use crate::binlog::statement::Xa;

/// The name of the XA transaction in an XA_PREPARE event: its id as hex digits, and its format.
///
/// # Errors
/// `BinlogCorrupt` when the event is shorter than its fields.
pub(crate) fn of_event(body: &[u8]) -> Result<String> {
    let short = || Error::new(Code::BinlogCorrupt, "an XA_PREPARE event is shorter than its fields");
    let number = |at: usize| {
        let bytes = body.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok());
        bytes.map(u32::from_le_bytes).ok_or_else(short)
    };
    let (format, global, branch) = (number(1)?, number(5)? as usize, number(9)? as usize);
    let data = body.get(13..).ok_or_else(short)?;
    let (global, rest) = data.split_at_checked(global).ok_or_else(short)?;
    let branch = rest.get(..branch).ok_or_else(short)?;
    Ok(format!("{},{},{format}", hex(global), hex(branch)))
}

/// The same name in `XA COMMIT X'6162',X'',1`, as both kinds of servers write it; `None` for another form.
pub(crate) fn of_statement(sql: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(sql).ok()?.trim();
    let id = text.splitn(3, char::is_whitespace).nth(2)?;
    let mut parts = id.split(',').map(str::trim);
    let (global, branch, format) = (parts.next()?, parts.next()?, parts.next()?.parse::<u32>().ok()?);
    let digits = |part: &str| {
        let digits = part.strip_prefix(['X', 'x'])?.strip_prefix('\'')?.strip_suffix('\'')?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| digits.to_ascii_lowercase())
    };
    let name = format!("{},{},{format}", digits(global)?, digits(branch)?);
    parts.next().is_none().then_some(name)
}

/// A prepared XA transaction is committed or rolled back: it is one whose rows were seen, and none of them was followed.
///
/// # Errors
/// `EventUnsupported` when one is committed that is not known.
pub(crate) fn decide(at: &mut Checkpoint, step: Xa, sql: &[u8]) -> Result<()> {
    let known = of_statement(sql).and_then(|name| at.prepared.iter().position(|known| *known == name));
    if let Some(known) = known {
        at.prepared.swap_remove(known);
    } else if step == Xa::Commit {
        let message = "an XA transaction is committed that was prepared before the start: its rows were not seen";
        return Err(Error::new(Code::EventUnsupported, message));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_and_statement_name_the_same() {
        let event = b"\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00abC";
        assert_eq!(of_event(event).unwrap(), "6162,43,1");
        assert_eq!(of_statement(b"XA COMMIT X'6162',X'43',1").as_deref(), Some("6162,43,1"));
        assert_eq!(of_statement(b"XA ROLLBACK X'aBcD',X'',7").as_deref(), Some("abcd,,7"));
        for other in ["XA COMMIT 'a'", "XA COMMIT X'61',X'',1,2", "XA COMMIT X'6g',X'',1", "XA COMMIT"] {
            assert_eq!(of_statement(other.as_bytes()), None, "{other}");
        }
        assert!((0..event.len()).all(|end| of_event(&event[..end]).is_err()));
    }
}
