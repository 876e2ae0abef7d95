use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429563";

fn position(text: &str) -> GtidPosition {
    text.replace('A', A).replace('B', B).parse().unwrap()
}

fn gtid(text: &str) -> Gtid {
    text.replace('A', A).replace('B', B).parse().unwrap()
}

#[test]
fn mariadb_positions_are_read_and_printed() {
    assert_eq!(position(" 7-2-9, 0-1-42").to_string(), "0-1-42,7-2-9");
    assert_eq!("".parse::<GtidPosition>().unwrap(), GtidPosition::default());
    for wrong in ["0-1", "0-1-2-3", "0-1-x", "0-1-2,", "0-1-2,0-2-3", "-1-1-1", "+0-1-1", "4294967296-1-1"] {
        assert!(wrong.parse::<GtidPosition>().is_err(), "{wrong}");
    }
}

#[test]
fn a_mariadb_position_contains_what_is_before_it() {
    let mut at = position("0-1-42");
    assert!(at.contains(&gtid("0-1-42")));
    assert!(at.contains(&gtid("0-9-1")));
    assert!(!at.contains(&gtid("0-1-43")));
    assert!(!at.contains(&gtid("1-1-1")));
    at.advance(gtid("0-2-43"));
    at.advance(gtid("1-1-1"));
    assert_eq!(at.to_string(), "0-2-43,1-1-1");
    assert_eq!(at.missing_in(&position("0-2-43")), position("1-1-1"));
    assert!(position("0-1-40").is_subset(&at) && !at.is_subset(&position("0-1-40")));
    let mut both = position("0-1-50");
    both.merge(&at);
    assert_eq!(both, position("0-1-50,1-1-1"));
}

#[test]
fn mysql_sets_are_read_in_every_form_and_printed_in_one() {
    let upper = A.to_uppercase();
    for (text, printed) in [
        ("A:1-5:8-10".to_owned(), "A:1-5:8-10"),
        (" A : 1 - 5 :6,\nB:3".to_owned(), "A:1-6,B:3"),
        ("B:3,A:7:1-5:9-9".to_owned(), "A:1-5:7:9,B:3"),
        ("A:1-5:Tag_1:3:5-6,A:zz:1:2".to_owned(), "A:1-5:tag_1:3:5-6:zz:1-2"),
        ("A:tag:1:tag:2-3".to_owned(), "A:tag:1-3"),
        (format!("{}:1", upper.replace('-', "")), "A:1"),
    ] {
        let text = if text.starts_with(&upper[..8]) { text } else { text.replace('A', A).replace('B', B) };
        let read: GtidPosition = text.parse().unwrap();
        assert_eq!(read.to_string(), printed.replace('A', A).replace('B', B));
        assert_eq!(read.flavor(), Some(Flavor::Mysql));
    }
    for wrong in ["A:", "A", "A:0", "A:5-1", "A:1-", "A:tag", "A:1,0-1-1", "x:1", "A:1-2x", "A:9223372036854775807"] {
        assert!(wrong.replace('A', A).parse::<GtidPosition>().is_err(), "{wrong}");
    }
}

#[test]
fn single_gtids_of_mysql_are_told_from_sets() {
    assert_eq!(gtid("A:tag:7").to_string(), format!("{A}:tag:7"));
    assert_eq!(gtid("A:7"), Gtid::mysql(A.parse().unwrap(), Tag::default(), 7));
    for wrong in ["A:7-8", "A:1:3", "A:1:tag:2"] {
        assert!(wrong.replace('A', A).parse::<Gtid>().is_err(), "{wrong}");
    }
}

#[test]
fn holes_and_tags_are_kept() {
    let mut at = position("A:1-5:8-10:tag:2");
    assert!(!at.contains(&gtid("A:6")) && at.contains(&gtid("A:8")));
    assert!(!at.contains(&gtid("A:tag:8")) && at.contains(&gtid("A:tag:2")));
    at.advance(gtid("A:6"));
    assert_eq!(at, position("A:1-6:8-10:tag:2"));
    at.advance(gtid("A:7"));
    assert_eq!(at, position("A:1-10:tag:2"));
    assert_eq!(at.missing_in(&position("A:3-4:10-12")), position("A:1-2:5-9:tag:2"));
    assert_eq!(position("A:1-3:tag:2,B:1").of_server(A.parse().unwrap()), position("A:1-3:tag:2"));
}

/// A set by brute force, over few sources and small numbers so that intervals meet.
fn numbers() -> impl Strategy<Value = BTreeSet<(u8, u64)>> {
    prop::collection::btree_set((0u8..3, 1u64..40), 0..60)
}

fn of(numbers: impl IntoIterator<Item = (u8, u64)>) -> GtidPosition {
    let mut position = GtidPosition::default();
    for (source, number) in numbers {
        position.advance(gtid(&format!("{}:{number}", ["A", "A:tag", "B"][usize::from(source)])));
    }
    position
}

proptest! {
    #[test]
    fn text_round_trips(all in numbers()) {
        let set = of(all);
        prop_assert_eq!(&set.to_string().parse::<GtidPosition>().unwrap(), &set);
        prop_assert_eq!(serde_json::from_str::<GtidPosition>(&serde_json::to_string(&set).unwrap()).unwrap(), set);
    }

    #[test]
    fn operations_are_those_of_sets(left in numbers(), right in numbers()) {
        let (a, b) = (of(left.clone()), of(right.clone()));
        prop_assert_eq!(a.missing_in(&b), of(left.difference(&right).copied()));
        prop_assert_eq!(a.is_subset(&b), left.is_subset(&right));
        let mut both = a.clone();
        both.merge(&b);
        prop_assert_eq!(&both, &of(left.union(&right).copied()));
        for source in 0..3u8 {
            for number in 1..40 {
                let one = of([(source, number)]);
                prop_assert_eq!(one.is_subset(&a), left.contains(&(source, number)));
            }
        }
    }

    #[test]
    fn any_order_of_advance_gives_the_same(all in numbers(), seed in any::<u64>()) {
        let mut shuffled: Vec<_> = all.iter().copied().collect();
        shuffled.sort_by_key(|(s, n)| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(u32::from(*s)));
        prop_assert_eq!(of(shuffled), of(all));
    }

    #[test]
    fn hostile_text_gives_an_error_at_worst(text in "[0-9a-f:,\\- _Tt]{0,60}") {
        if let Ok(read) = text.parse::<GtidPosition>() {
            prop_assert_eq!(read.to_string().parse::<GtidPosition>().unwrap(), read);
        }
    }
}
