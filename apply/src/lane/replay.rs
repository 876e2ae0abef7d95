//! Whether an event lies behind the source position at which a lane's generation rose. Pure.
//!
//! Capture was reset backwards: the events of the new generation begin with ones that the lane has applied. Their
//! ordinals need not compare with those of before, so it is the source's own coordinates that say when the lane is past
//! them: a transaction of the same domain or server with a higher number, or else a later place in the same binlog. What
//! does not compare is taken for not past: replaying too long changes no row that is right, stopping too early might
//! meet rows that are further than their events.

use schemas::decode::EventHead;

use crate::explore::Facts;

/// The last event before the generation rose, as the progress row keeps it: GTID or `-`, then `file:position`.
pub(crate) fn past_of(last: &Facts) -> String {
    format!("{} {}:{}", last.gtid.as_deref().unwrap_or("-"), last.file, last.pos)
}

/// The furthest of several such places, each empty or as [`past_of`] makes it. One that does not compare with those before
/// it is not beyond them.
pub(crate) fn furthest<'p>(pasts: impl IntoIterator<Item = &'p str>) -> &'p str {
    let beyond = |past: &str, other: &str| match other.split_once(' ').and_then(|(gtid, place)| {
        let (file, pos) = place.rsplit_once(':')?;
        Some(((gtid != "-").then_some(gtid), file, pos.parse().ok()?))
    }) {
        Some(other) => past.is_empty() || is_beyond(past, other),
        None => false,
    };
    pasts.into_iter().fold("", |past, other| if beyond(past, other) { other } else { past })
}

/// Whether the event is behind that position.
pub(crate) fn is_past(past: &str, head: &EventHead<'_>) -> bool {
    is_beyond(past, (head.gtid, head.file, head.pos))
}

fn is_beyond(past: &str, (at_gtid, at_file, at_pos): (Option<&str>, &str, i64)) -> bool {
    let Some((gtid, place)) = past.split_once(' ') else { return false };
    if let Some((known, seen)) = number(gtid).zip(at_gtid.and_then(number))
        && known.0 == seen.0
    {
        return seen.1 > known.1;
    }
    let Some((file, pos)) = place.rsplit_once(':') else { return false };
    let (Some(known), Some(seen), Ok(pos)) = (file_number(file), file_number(at_file), pos.parse::<i64>()) else {
        return false;
    };
    // Without comparable GTIDs only a later file is sure: a transaction's events share a file.
    known.0 == seen.0 && (seen.1 > known.1 || (seen.1 == known.1 && gtid == "-" && at_pos > pos))
}

/// What numbers a GTID, and its number: the domain of `0-1-42`, all before the last colon of `uuid:tag:5`.
fn number(gtid: &str) -> Option<(&str, u64)> {
    if let Some((of, number)) = gtid.rsplit_once(':') {
        return Some((of, number.parse().ok()?));
    }
    let (domain, rest) = gtid.split_once('-')?;
    Some((domain, rest.rsplit_once('-')?.1.parse().ok()?))
}

/// Base and number of a binlog's name: `mariadb-bin` and 3 of `mariadb-bin.000003`.
fn file_number(file: &str) -> Option<(&str, u64)> {
    let (base, number) = file.rsplit_once('.')?;
    Some((base, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::encode::Op;

    fn head(gtid: Option<&'static str>, file: &'static str, pos: i64) -> EventHead<'static> {
        EventHead {
            op: Op::Create,
            has_before: false,
            has_after: true,
            ordinal: 1,
            generation: 1,
            gtid,
            source_ts_ms: 0,
            file,
            pos,
            row: 0,
        }
    }

    #[test]
    fn the_sources_own_coordinates_decide() {
        let past = "0-1-42 bin.000003:400";
        assert!(!is_past(past, &head(Some("0-1-42"), "bin.000003", 900)), "the same transaction");
        assert!(is_past(past, &head(Some("0-2-43"), "other.000001", 4)), "another server of the domain");
        assert!(!is_past(past, &head(Some("0-1-41"), "bin.000004", 4)), "a GTID that compares goes before the place");
        assert!(is_past(past, &head(Some("7-1-1"), "bin.000004", 4)), "another domain, a later file");
        assert!(!is_past(past, &head(Some("7-1-1"), "bin.000003", 900)), "another domain, the same file");
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:5 b.000001:4";
        assert!(is_past(uuid, &head(Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:6"), "b.000001", 9)));
        assert!(!is_past(uuid, &head(Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:tag:6"), "b.000001", 9)));
        assert!(is_past("- bin.000003:400", &head(None, "bin.000003", 401)));
        assert!(!is_past("- bin.000003:400", &head(None, "bin.000003", 400)));
        assert!(!is_past("- bin.000003:400", &head(None, "log.000009", 400)), "another server's binlog");
        let places = ["", "0-1-40 bin.000003:100", "0-1-42 bin.000003:400", "0-2-41 bin.000003:300", "x"];
        assert_eq!(furthest(places), "0-1-42 bin.000003:400");
        assert_eq!(furthest(["0-1-42 bin.000003:400", "7-1-1 bin.000003:900"]), "0-1-42 bin.000003:400");
        assert_eq!(furthest(["", ""]), "");
        for unreadable in ["", "x", "- x", "- bin.000003:x"] {
            assert!(!is_past(unreadable, &head(Some("0-1-1"), "bin.000009", 9)), "{unreadable}");
        }
    }
}
