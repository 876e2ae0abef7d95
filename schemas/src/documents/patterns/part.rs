//! One side of a pattern: the schema's or the table's name.

use std::fmt;

/// Signs that mean something in a pattern, or will: a name that contains one is to be quoted.
const SIGNS: &str = "*?[]{}!,'\"";
/// Digits of a number in a range.
const MAX_WIDTH: usize = 18;

/// A name of which parts may be open. Neighbouring texts are one, neighbouring stars too, and a choice has at least two
/// possibilities; so equal texts have equal pieces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Part(Vec<Piece>);

/// A stretch of a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) enum Piece {
    /// Itself.
    Text(String),
    /// `*`: any characters, also none.
    Any,
    /// `[…]`: one of these.
    OneOf(Vec<Choice>),
}

/// What may stand between brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in super::super) enum Choice {
    /// A name.
    Name(String),
    /// `00-31`: the numbers of so many digits.
    Numbers { low: u64, high: u64, width: usize },
    /// `a-f`: one letter.
    Letters { low: char, high: char },
}

impl Choice {
    /// How many names it stands for.
    fn count(&self) -> u64 {
        match self {
            Self::Name(_) => 1,
            Self::Numbers { low, high, .. } => high - low + 1,
            Self::Letters { low, high } => u64::from(u32::from(*high) - u32::from(*low) + 1),
        }
    }

    /// Characters of the shortest.
    fn width(&self) -> usize {
        match self {
            Self::Name(name) => name.chars().count(),
            Self::Numbers { width, .. } => *width,
            Self::Letters { .. } => 1,
        }
    }

    /// Bytes at the head of `text` that it can stand for; each possibility has a length of its own, so there is one.
    fn prefix(&self, text: &str) -> Option<usize> {
        match self {
            Self::Name(name) => text.starts_with(name.as_str()).then_some(name.len()),
            Self::Numbers { low, high, width } => {
                let digits = text.get(..*width).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
                digits.parse::<u64>().ok().filter(|n| (low..=high).contains(&n)).map(|_| *width)
            }
            Self::Letters { low, high } => {
                text.chars().next().filter(|c| (low..=high).contains(&c)).map(char::len_utf8)
            }
        }
    }

    fn names(&self) -> Box<dyn Iterator<Item = String> + '_> {
        match self {
            Self::Name(name) => Box::new(std::iter::once(name.clone())),
            Self::Numbers { low, high, width } => Box::new((*low..=*high).map(move |n| format!("{n:0width$}"))),
            Self::Letters { low, high } => Box::new((*low..=*high).map(String::from)),
        }
    }

    /// Reads one of the items between brackets; `quoted` ones mean themselves.
    fn read(text: &str, quoted: bool) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} between brackets is neither a name nor a range like 00-31 (as many digits on both sides) or a-f; \
                 a name with - stands in backquotes"
            )
        };
        if quoted || !text.contains('-') {
            return Ok(Self::Name(text.to_owned()));
        }
        let (low, high) = text.split_once('-').ok_or_else(wrong)?;
        let digits = |s: &str| (1..=MAX_WIDTH).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
        if digits(low) && digits(high) && low.len() == high.len() {
            let range = low.parse::<u64>().ok().zip(high.parse::<u64>().ok()).filter(|(low, high)| low <= high);
            let (from, to) = range.ok_or_else(wrong)?;
            return Ok(Self::Numbers { low: from, high: to, width: low.len() });
        }
        match (low.as_bytes(), high.as_bytes()) {
            ([a], [b]) if a <= b && a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                let same_case = a.is_ascii_lowercase() == b.is_ascii_lowercase();
                let range = Self::Letters { low: char::from(*a), high: char::from(*b) };
                if same_case { Ok(range) } else { Err(wrong()) }
            }
            _ => Err(wrong()),
        }
    }
}

impl Part {
    pub(super) fn literal(name: &str) -> Self {
        Self(vec![Piece::Text(name.to_owned())])
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub(super) fn of(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut part = Self(Vec::new());
        pieces.into_iter().for_each(|piece| part.push(piece));
        part
    }

    fn push(&mut self, piece: Piece) {
        match (self.0.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (Some(Piece::Any), Piece::Any) => {}
            (_, Piece::Text(text)) if text.is_empty() => {}
            (_, Piece::OneOf(choices)) if choices.len() == 1 && choices[0].count() == 1 => {
                let only = choices[0].names().next().unwrap_or_default();
                self.push(Piece::Text(only));
            }
            (_, piece) => self.0.push(piece),
        }
    }

    /// The one name that it can be, when nothing is open.
    pub(super) fn exact(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(name)] => Some(name),
            _ => None,
        }
    }

    pub(super) fn stars(&self) -> usize {
        self.0.iter().filter(|p| matches!(p, Piece::Any)).count()
    }

    /// Characters that every match has.
    pub(super) fn least(&self) -> usize {
        let width = |piece: &Piece| match piece {
            Piece::Text(text) => text.chars().count(),
            Piece::Any => 0,
            Piece::OneOf(choices) => choices.iter().map(Choice::width).min().unwrap_or_default(),
        };
        self.0.iter().map(width).sum()
    }

    /// Possibilities of its brackets together.
    pub(super) fn choices(&self) -> u64 {
        let count = |piece: &Piece| match piece {
            Piece::OneOf(choices) => choices.iter().map(Choice::count).fold(0, u64::saturating_add),
            _ => 1,
        };
        self.0.iter().map(count).fold(1, u64::saturating_mul)
    }

    /// Follows all ways through the pieces at the same time, so nothing is tried twice whatever the pattern.
    pub(super) fn matches(&self, name: &str) -> bool {
        let mut at = vec![false; name.len() + 1];
        at[0] = true;
        for piece in &self.0 {
            let mut next = vec![false; name.len() + 1];
            for (from, rest) in (0..=name.len()).filter(|i| at[*i]).filter_map(|i| name.get(i..).map(|rest| (i, rest)))
            {
                match piece {
                    Piece::Text(text) if rest.starts_with(text.as_str()) => next[from + text.len()] = true,
                    Piece::Text(_) => {}
                    Piece::Any => {
                        (from..=name.len()).filter(|i| name.is_char_boundary(*i)).for_each(|i| next[i] = true)
                    }
                    Piece::OneOf(choices) => {
                        choices.iter().filter_map(|c| c.prefix(rest)).for_each(|len| next[from + len] = true);
                    }
                }
            }
            at = next;
        }
        at[name.len()]
    }

    /// The same without brackets, one part for each possibility; `None` beyond `most`.
    pub(super) fn without_choices(&self, most: u64) -> Option<Vec<Self>> {
        if self.choices() > most {
            return None;
        }
        let mut all = vec![Self(Vec::new())];
        for piece in &self.0 {
            match piece {
                Piece::OneOf(choices) => {
                    let names: Vec<String> = choices.iter().flat_map(Choice::names).collect();
                    let with = |part: &Self, name: &String| {
                        let mut part = part.clone();
                        part.push(Piece::Text(name.clone()));
                        part
                    };
                    all = all.iter().flat_map(|part| names.iter().map(move |name| with(part, name))).collect();
                }
                piece => all.iter_mut().for_each(|part| part.push(piece.clone())),
            }
        }
        Some(all)
    }

    /// Some name that it matches.
    pub(super) fn some_name(&self) -> String {
        let mut name = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Any => {}
                Piece::OneOf(choices) => name.extend(choices.first().and_then(|c| c.names().next())),
            }
        }
        if name.is_empty() { "x".to_owned() } else { name }
    }

    /// Reads one part and returns what follows it.
    pub(super) fn read(text: &str) -> Result<(Self, &str), String> {
        let mut part = Self(Vec::new());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = match c {
                '.' => break,
                '`' => {
                    let (name, after) = quoted(rest)?;
                    part.push(Piece::Text(name));
                    after
                }
                '[' => {
                    let (choices, after) = brackets(&rest[1..])?;
                    part.push(Piece::OneOf(choices));
                    after
                }
                '*' => {
                    part.push(Piece::Any);
                    &rest[1..]
                }
                c if SIGNS.contains(c) || c.is_whitespace() => return Err(must_be_quoted(c)),
                c => {
                    part.push(Piece::Text(c.to_string()));
                    &rest[c.len_utf8()..]
                }
            };
        }
        if part.0.is_empty() {
            return Err("the name of a schema or table is missing".to_owned());
        }
        Ok((part, rest))
    }
}

/// What to say of a sign that stands where it means nothing.
pub(in super::super) fn must_be_quoted(sign: char) -> String {
    format!("{sign:?} has to stand in backquotes when it belongs to a name")
}

/// The items between brackets, behind the opening one, and what follows the closing one.
fn brackets(text: &str) -> Result<(Vec<Choice>, &str), String> {
    let mut choices = Vec::new();
    let (mut item, mut was_quoted) = (String::new(), false);
    let mut rest = text;
    loop {
        let c = rest.chars().next().ok_or("a bracket is not closed")?;
        match c {
            '`' => {
                let (name, after) = quoted(rest)?;
                item.push_str(&name);
                was_quoted = true;
                rest = after;
                continue;
            }
            ',' | ']' => {
                if item.is_empty() {
                    return Err("there is nothing between two signs of a bracket".to_owned());
                }
                let choice = Choice::read(&item, was_quoted)?;
                if choices.contains(&choice) {
                    return Err(format!("{item} stands twice in a bracket"));
                }
                choices.push(choice);
                (item, was_quoted) = (String::new(), false);
                if c == ']' {
                    return Ok((choices, &rest[1..]));
                }
            }
            ' ' => {}
            c if SIGNS.contains(c) || c == '.' || c.is_whitespace() => return Err(must_be_quoted(c)),
            c => item.push(c),
        }
        rest = &rest[c.len_utf8()..];
    }
}

/// The name in backquotes at the head, a doubled backquote standing for one, and what follows.
pub(in super::super) fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let (before, after) = rest.split_once('`').ok_or("a backquote is not closed")?;
        name.push_str(before);
        match after.strip_prefix('`') {
            Some(more) => {
                name.push('`');
                rest = more;
            }
            None => return Ok((name, after)),
        }
    }
}

/// Whether a name with this sign in it is to be quoted.
pub(in super::super) fn is_sign(c: char) -> bool {
    c == '.' || c == '`' || SIGNS.contains(c) || c.is_whitespace()
}

/// The text as it stands in a pattern, quoted where that is needed.
pub(in super::super) fn write_text(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    needs_quotes: impl Fn(char) -> bool,
) -> fmt::Result {
    if text.contains(needs_quotes) { write!(f, "`{}`", text.replace('`', "``")) } else { f.write_str(text) }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write_text(f, name, |c| c == '-' || is_sign(c)),
            Self::Numbers { low, high, width } => write!(f, "{low:0width$}-{high:0width$}"),
            Self::Letters { low, high } => write!(f, "{low}-{high}"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => write_text(f, text, is_sign)?,
                Piece::Any => f.write_str("*")?,
                Piece::OneOf(choices) => {
                    for (i, choice) in choices.iter().enumerate() {
                        f.write_str(if i == 0 { "[" } else { "," })?;
                        choice.fmt(f)?;
                    }
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}
