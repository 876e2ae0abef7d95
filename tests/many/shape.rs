//! Random tables. Every table has the same columns, so that the writers need not know which it is: `a` and `b` for the
//! key, `u`, `v` and `w` for unique keys, `n` and `t` for the rest. What they hold differs: numbers, text that folds
//! ('a' = 'A' = 'á'), text that does not. There are few values, so that writers meet.
//!
//! A table is one of its own, or has a second copy at the target, or goes to one target table with a table of another
//! schema, or belongs to a family: parents that children refer to by foreign keys, at both ends.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use std::fmt;

/// The most partitions of a topic.
const MOST_PARTITIONS: u32 = 8;
/// Values of a column.
const VALUES: u32 = 40;
/// What the name of the source's second schema ends with.
pub(super) const SECOND: &str = "_b";
/// The column of a merged table that says of which schema a row is.
pub(super) const OF: &str = "of_schema";

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Numbers,
    Folding,
    Exact,
    Bytes,
}

/// A column that is part of a key.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) nullable: bool,
}

/// What a child's row does when its parent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Refuses,
    GoesToo,
    IsAlone,
}

/// How a table stands to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kin {
    Alone,
    /// The target has it twice.
    Twice,
    /// It shares its target table with the table of the same name in the other schema.
    Merged,
    /// Children refer to it.
    Parent,
    /// Its column `u` refers to the key of the family's parent.
    Child(Rule),
}

/// A table at both ends.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// Whether it is in the source's second schema.
    pub(super) second: bool,
    pub(super) kin: Kin,
    pub(super) partitions: u32,
    /// `a`, `b`, `u`, `v`, `w`.
    pub(super) columns: Vec<Column>,
    /// How many of the first columns are the primary key.
    key: usize,
    /// The columns of each other unique key.
    uniques: Vec<Vec<&'static str>>,
}

impl Holds {
    fn definition(self) -> &'static str {
        match self {
            Self::Numbers => "int",
            Self::Folding => "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
            Self::Exact => "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            Self::Bytes => "varbinary(20)",
        }
    }

    fn random(random: &mut StdRng) -> Self {
        *[Self::Numbers, Self::Numbers, Self::Folding, Self::Exact, Self::Bytes]
            .choose(random)
            .unwrap_or(&Self::Numbers)
    }
}

impl Table {
    /// The table of this number, by itself.
    pub(super) fn random(number: u32, keyless: bool, random: &mut StdRng) -> Self {
        let key = if keyless && random.random_bool(0.15) { 0 } else { random.random_range(1..=2) };
        let columns = ["a", "b", "u", "v", "w"].into_iter().enumerate().map(|(at, name)| Column {
            name,
            holds: Holds::random(random),
            nullable: at >= key && random.random_bool(0.4),
        });
        let columns = columns.collect();
        let mut uniques = Vec::new();
        if key > 0 {
            for name in ["u", "v", "w"] {
                match random.random_range(0..6) {
                    0..2 => uniques.push(vec![name]),
                    2 => uniques.push(vec![name, if name == "u" { "w" } else { "u" }]),
                    _ => {}
                }
            }
        }
        let partitions = random.random_range(1..=MOST_PARTITIONS);
        let kin = if random.random_bool(0.2) { Kin::Twice } else { Kin::Alone };
        Self { name: format!("t{number}"), second: false, kin, partitions, columns, key, uniques }
    }

    /// Two tables of two schemas that share a target table.
    pub(super) fn merged(number: u32, keyless: bool, random: &mut StdRng) -> [Self; 2] {
        let one = Self { kin: Kin::Merged, ..Self::random(number, keyless, random) };
        let other = Self { second: true, partitions: random.random_range(1..=MOST_PARTITIONS), ..one.clone() };
        [one, other]
    }

    /// A parent with one or two children.
    pub(super) fn family(first: u32, random: &mut StdRng) -> Vec<Self> {
        let mut parent = Self { kin: Kin::Parent, ..Self::random(first, false, random) };
        parent.key = 1;
        // A key in another spelling is the same one to a foreign key, and another row to whoever reads events.
        if parent.columns[0].holds == Holds::Folding {
            parent.columns[0].holds = Holds::Exact;
        }
        let holds = parent.columns[0].holds;
        let mut family = vec![parent];
        for number in 1..=random.random_range(1..=2) {
            let mut child = Self::random(first + number, false, random);
            child.columns[2].holds = holds;
            let rule = match random.random_range(0..3) {
                0 => Rule::Refuses,
                1 if child.columns[2].nullable => Rule::IsAlone,
                _ => Rule::GoesToo,
            };
            child.kin = Kin::Child(rule);
            family.push(child);
        }
        family
    }

    /// Its full name at the source, whose first schema is this one.
    pub(super) fn at_source(&self, schema: &str) -> String {
        format!("{schema}{}.{}", if self.second { SECOND } else { "" }, self.name)
    }

    /// Whether its events may be written a second time.
    pub(super) fn can_replay(&self) -> bool {
        self.key > 0 && !matches!(self.kin, Kin::Parent | Kin::Child(_))
    }

    /// What stands between the brackets of `CREATE TABLE` at the source; `parent` is the family's.
    pub(super) fn definition(&self, parent: Option<&Self>) -> String {
        self.defined(None, parent)
    }

    /// The same at the target, where a merged table has one column more, in all keys.
    pub(super) fn target_definition(&self, parent: Option<&Self>) -> String {
        self.defined((self.kin == Kin::Merged).then_some(OF), parent)
    }

    fn defined(&self, of: Option<&str>, parent: Option<&Self>) -> String {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(of.map(|of| format!("{of} varchar(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL")));
        for column in &self.columns {
            let null = if column.nullable { "NULL" } else { "NOT NULL" };
            parts.push(format!("{} {} {null}", column.name, column.holds.definition()));
        }
        parts.push("n int NOT NULL DEFAULT 0, t varchar(60) NULL".to_owned());
        let key = |names: &[&str]| of.into_iter().chain(names.iter().copied()).collect::<Vec<_>>().join(", ");
        if self.key > 0 {
            let names: Vec<_> = self.columns[..self.key].iter().map(|column| column.name).collect();
            parts.push(format!("PRIMARY KEY ({})", key(&names)));
        }
        for (at, names) in self.uniques.iter().enumerate() {
            parts.push(format!("UNIQUE KEY k{at} ({})", key(names)));
        }
        if let (Kin::Child(rule), Some(parent)) = (self.kin, parent) {
            let rule = match rule {
                Rule::Refuses => "",
                Rule::GoesToo => " ON DELETE CASCADE",
                Rule::IsAlone => " ON DELETE SET NULL",
            };
            parts.push(format!("FOREIGN KEY (u) REFERENCES {} (a){rule}", parent.name));
        }
        parts.join(", ")
    }

    /// The columns of which a writer changes one: mostly those that some key has.
    pub(super) fn some_column(&self, random: &mut StdRng) -> &Column {
        let unique: Vec<_> =
            self.columns[2..].iter().filter(|c| self.uniques.iter().flatten().any(|name| *name == c.name)).collect();
        match random.random_range(0..10) {
            0..2 => &self.columns[random.random_range(0..2)],
            2..9 if !unique.is_empty() => unique[random.random_range(0..unique.len())],
            _ => &self.columns[random.random_range(2..5)],
        }
    }
}

impl Column {
    /// One of its values as a literal.
    pub(super) fn value(&self, random: &mut StdRng) -> String {
        if self.nullable && random.random_bool(0.2) {
            return "NULL".to_owned();
        }
        self.of(random.random_range(0..VALUES), random)
    }

    /// A value that no other part of the writers uses: on the way of an exchange.
    pub(super) fn spare(&self, writer: u32) -> String {
        match self.holds {
            Holds::Numbers => (1_000_000 + writer).to_string(),
            _ => format!("'spare{writer}'"),
        }
    }

    /// The literal of a number: text in one of its spellings, which are equal where text folds.
    fn of(&self, number: u32, random: &mut StdRng) -> String {
        const SPELLINGS: [&str; 6] = ["a", "A", "á", "à", "Â", "ä"];
        match self.holds {
            Holds::Numbers => number.to_string(),
            _ => format!("'{}{}'", SPELLINGS[random.random_range(0..SPELLINGS.len())], number / 2),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, kin, partitions) = (&self.name, self.kin, self.partitions);
        let second = if self.second { " (second schema)" } else { "" };
        write!(f, "{name}{second}, {kin:?}, over {partitions} partitions: {}", self.definition(None))
    }
}
