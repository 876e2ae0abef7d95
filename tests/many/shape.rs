//! Random tables. Every table has the same columns, so that the writers need not know which it is: `a` and `b` for the
//! key, `u`, `v` and `w` for unique keys, `n` and `t` for the rest. What they hold differs: numbers, text that folds
//! ('a' = 'A' = 'á'), text that does not. There are few values, so that writers meet.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use std::fmt;

/// The most partitions of a topic.
const MOST_PARTITIONS: u32 = 8;
/// Whether there are tables without any key.
const KEYLESS: bool = true;
/// Values of a column.
const VALUES: u32 = 40;

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

/// A table at both ends.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
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
    /// The table of this number.
    pub(super) fn random(number: u32, random: &mut StdRng) -> Self {
        let key = if KEYLESS && random.random_bool(0.15) { 0 } else { random.random_range(1..=2) };
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
        Self { name: format!("t{number}"), partitions, columns, key, uniques }
    }

    /// What stands between the brackets of `CREATE TABLE`.
    pub(super) fn definition(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for column in &self.columns {
            let null = if column.nullable { "NULL" } else { "NOT NULL" };
            parts.push(format!("{} {} {null}", column.name, column.holds.definition()));
        }
        parts.push("n int NOT NULL DEFAULT 0, t varchar(60) NULL".to_owned());
        if self.key > 0 {
            let names: Vec<_> = self.columns[..self.key].iter().map(|column| column.name).collect();
            parts.push(format!("PRIMARY KEY ({})", names.join(", ")));
        }
        for (at, names) in self.uniques.iter().enumerate() {
            parts.push(format!("UNIQUE KEY k{at} ({})", names.join(", ")));
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
        write!(f, "{} over {} partitions: {}", self.name, self.partitions, self.definition())
    }
}
