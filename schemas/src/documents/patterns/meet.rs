//! Names that two patterns have in common: what an ambiguity or a loop is shown with before any such table is there.
//!
//! The search is bounded. Where it gives up it answers as if there were none; the same is then found when such a
//! table appears, by its name.

use std::collections::{HashMap, VecDeque};

use super::part::{Part, Piece};

/// Possibilities of brackets that are looked at.
const MOST: u64 = 1_000;
/// Pairs of patterns that are looked at.
const MOST_PAIRS: usize = 10_000;

/// A name that both match, if one is found.
pub(super) fn common(a: &Part, b: &Part) -> Option<String> {
    for (one, other) in [(a, b), (b, a)] {
        if one.stars() == 0 {
            let names = one.without_choices(MOST * 10)?;
            return names.iter().filter_map(Part::exact).find(|name| other.matches(name)).map(str::to_owned);
        }
    }
    let (a, b) = (a.without_choices(MOST)?, b.without_choices(MOST)?);
    if a.len().saturating_mul(b.len()) > MOST_PAIRS {
        return None;
    }
    a.iter().flat_map(|one| b.iter().map(move |other| (one, other))).find_map(|(one, other)| meet(one, other))
}

/// How much work [`common`] may be for these two, in steps.
pub(super) fn effort(a: &Part, b: &Part) -> u64 {
    let length = |part: &Part| u64::try_from(part.least() + part.stars() + 1).unwrap_or(u64::MAX);
    let whole = |part: &Part| part.choices().min(MOST * 10).saturating_mul(length(part));
    if a.stars() == 0 {
        return whole(a).saturating_mul(length(b));
    }
    if b.stars() == 0 {
        return whole(b).saturating_mul(length(a));
    }
    let pairs = a.choices().saturating_mul(b.choices());
    if pairs > MOST_PAIRS as u64 {
        return whole(a).saturating_add(whole(b));
    }
    pairs.saturating_mul(length(a)).saturating_mul(length(b))
}

/// A character, or `None` for a star.
fn signs(part: &Part) -> Vec<Option<char>> {
    let signs = part.pieces().iter().flat_map(|piece| match piece {
        Piece::Text(text) => text.chars().map(Some).collect(),
        Piece::Any => vec![None],
        Piece::OneOf(_) => Vec::new(), // taken out before
    });
    signs.collect()
}

/// How far a walk is in each of the two.
type Place = (usize, usize);

/// Walks both at the same time, shortest way first, and reads the name off the way.
fn meet(a: &Part, b: &Part) -> Option<String> {
    let (a, b) = (signs(a), signs(b));
    let end = (a.len(), b.len());
    let mut came: HashMap<Place, (Place, Option<char>)> = HashMap::new();
    let mut queue = VecDeque::from([(0, 0)]);
    while let Some(at) = queue.pop_front() {
        if at == end {
            let mut name: Vec<char> = Vec::new();
            let mut here = end;
            while let Some((from, c)) = came.get(&here).filter(|_| here != (0, 0)) {
                name.extend(c);
                here = *from;
            }
            let name: String = name.into_iter().rev().collect();
            return Some(if name.is_empty() { "x".to_owned() } else { name });
        }
        let (i, j) = at;
        let mut go = |to: Place, c: Option<char>| {
            if to != (0, 0) && !came.contains_key(&to) {
                came.insert(to, (at, c));
                queue.push_back(to);
            }
        };
        match (a.get(i), b.get(j)) {
            (Some(Some(x)), Some(Some(y))) if x == y => go((i + 1, j + 1), Some(*x)),
            (Some(Some(_)), Some(Some(_))) | (Some(Some(_)), None) | (None, Some(Some(_))) | (None, None) => {}
            (left, right) => {
                if left == Some(&None) {
                    go((i + 1, j), None);
                    if let Some(Some(y)) = right {
                        go((i, j + 1), Some(*y));
                    }
                }
                if right == Some(&None) {
                    go((i, j + 1), None);
                    if let Some(Some(x)) = left {
                        go((i + 1, j), Some(*x));
                    }
                }
            }
        }
    }
    None
}
