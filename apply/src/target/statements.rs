//! The texts of a table's statements.
//!
//! Rows are found by the row key. Where its collation takes different bytes for equal, the raw column serves the index
//! and a second condition compares the bytes, as UTF-8 whatever the column's charset. Constants that the mapping sets
//! narrow every search for a row of its own. Where there is no row key, or where it alone does not tell whose a row is, all
//! mapped columns are compared.

use schemas::progress::quote;
use schemas::table::TableName;

use super::mapping::MappedColumn;

/// Texts of statements, and where their parameters come from.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Quoted.
    pub(crate) table: String,
    /// `INSERT INTO t (…) VALUES`, without rows.
    pub(crate) insert_head: String,
    /// `REPLACE INTO t (…) VALUES`, without rows: whatever row holds one of the new row's unique values goes first.
    pub(crate) replace_head: String,
    /// `(?,?,…)`.
    pub(crate) insert_row: String,
    /// Sets the columns outside the row key; parameters: those columns, then [`Statements::find`].
    pub(crate) update: String,
    /// Positions of the columns that `update` sets.
    pub(crate) update_columns: Vec<usize>,
    /// Sets all columns, the row key too; parameters: all columns, then [`Statements::find`].
    pub(crate) move_row: String,
    /// Sets all columns; found by the row key as the collation compares it. Parameters: all columns, then the key.
    pub(crate) overwrite: String,
    /// Deletes one row; parameters: [`Statements::find`].
    pub(crate) delete: String,
    /// Whether a row has this key, as the collation compares it; parameters: the key.
    pub(crate) exists: String,
    /// What the parameters of a WHERE come from: the key, its folding columns again, then the columns compared beside it.
    pub(crate) find: Vec<Finder>,
    /// The row key as the left side of IN: `` `id` `` or `` (`a`,`b`) ``.
    pub(crate) key_side: String,
    /// The same for the comparison of bytes; empty where the key compares bytewise.
    pub(crate) byte_side: String,
    /// What rows of the mapping's own have beside their key, its constants, as ` AND …`; empty without such.
    own: String,
}

/// How a column's value becomes a parameter of a WHERE; the number is its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finder {
    /// By [`super::value::Bind::key_value`].
    Key(usize),
    /// By [`super::value::Bind::match_values`].
    Match(usize),
}

impl Statements {
    /// The statements for these columns; `by_row`: the key does not find rows alone.
    pub(crate) fn new(target: &TableName, columns: &[MappedColumn], key: &[usize], by_row: bool) -> Self {
        let table = format!("{}.{}", quote(&target.schema), quote(&target.table));
        let names: Vec<String> = columns.iter().map(|c| quote(&c.name)).collect();
        let keys: Vec<(&MappedColumn, &String)> = key.iter().map(|&k| (&columns[k], &names[k])).collect();
        let folding: Vec<usize> = key.iter().copied().filter(|&k| columns[k].folds).collect();
        let collated: Vec<String> =
            keys.iter().map(|(column, name)| format!("{name} = {}", column.bind.key_placeholder())).collect();
        let bytes: Vec<String> = folding.iter().map(|&k| format!("{} = ?", as_bytes(&names[k]))).collect();
        let beside: Vec<usize> = (0..columns.len()).filter(|i| !key.contains(i)).collect();
        let (constants, update_columns): (Vec<usize>, Vec<usize>) =
            beside.into_iter().partition(|&i| columns[i].own.is_some());
        let compared: &[usize] = if by_row { &update_columns } else { &[] };
        let rest = compared.iter().map(|&i| columns[i].bind.match_condition(&names[i], columns[i].folds)).collect();
        let own: Vec<String> = constants.iter().filter_map(|&i| columns[i].own.clone()).collect();
        // Of equal rows one is as good as another.
        let one = if key.is_empty() { " LIMIT 1" } else { "" };
        let exact = format!("{}{one}", [collated.clone(), bytes, rest, own.clone()].concat().join(" AND "));
        let collated = collated.join(" AND ");
        let find = key.iter().chain(&folding).map(|&k| Finder::Key(k));
        let find = find.chain(compared.iter().map(|&i| Finder::Match(i))).collect();
        let set = |which: &[usize]| which.iter().map(|&i| format!("{} = ?", names[i])).collect::<Vec<_>>().join(", ");
        // A table of nothing but its key: the statement still has to find the row.
        let update_set = match (update_columns.is_empty(), keys.first()) {
            (true, Some((_, name))) => format!("{name} = {name}"),
            _ => set(&update_columns),
        };
        let all: Vec<usize> = (0..columns.len()).collect();
        let side = |wrap: &dyn Fn(&MappedColumn, &str) -> String| {
            let parts: Vec<String> = keys.iter().map(|(column, name)| wrap(column, name)).collect();
            if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(",")) }
        };
        Self {
            insert_head: format!("INSERT INTO {table} ({}) VALUES ", names.join(",")),
            replace_head: format!("REPLACE INTO {table} ({}) VALUES ", names.join(",")),
            insert_row: format!("({})", vec!["?"; columns.len()].join(",")),
            update: format!("UPDATE {table} SET {update_set} WHERE {exact}"),
            update_columns,
            move_row: format!("UPDATE {table} SET {} WHERE {exact}", set(&all)),
            overwrite: format!("UPDATE {table} SET {} WHERE {collated}", set(&all)),
            delete: format!("DELETE FROM {table} WHERE {exact}"),
            exists: format!("SELECT 1 FROM {table} WHERE {collated} LIMIT 1"),
            find,
            key_side: side(&|_, name| name.to_owned()),
            byte_side: if folding.is_empty() {
                String::new()
            } else {
                side(&|column, name| if column.folds { as_bytes(name) } else { name.to_owned() })
            },
            own: own.iter().map(|condition| format!(" AND {condition}")).collect(),
            table,
        }
    }

    /// `INSERT` of a number of rows.
    pub(crate) fn insert(&self, rows: usize) -> String {
        format!("{}{}", self.insert_head, vec![self.insert_row.as_str(); rows].join(","))
    }

    /// `REPLACE` of a number of rows.
    pub(crate) fn replace(&self, rows: usize) -> String {
        format!("{}{}", self.replace_head, vec![self.insert_row.as_str(); rows].join(","))
    }

    /// Count of these keys' rows, as the collation compares them.
    pub(crate) fn count_of(&self, keys: &str) -> String {
        format!("SELECT COUNT(*) FROM {} WHERE {} IN ({keys})", self.table, self.key_side)
    }

    /// `DELETE` of the rows of these keys; each is `'a'` or `(1,'a')`. `bytes` are the same as UTF-8.
    pub(crate) fn delete_in(&self, keys: &str, bytes: &str) -> String {
        format!("DELETE FROM {} WHERE {} IN ({keys}){}{}", self.table, self.key_side, self.and_bytes(bytes), self.own)
    }

    /// Whether any of these keys has a row: as the collation compares them, and by their bytes where those are given.
    pub(crate) fn any_of(&self, keys: &str, bytes: Option<&str>) -> String {
        let bytes = bytes.map(|bytes| self.and_bytes(bytes)).unwrap_or_default();
        format!("SELECT 1 FROM {} WHERE {} IN ({keys}){bytes} LIMIT 1", self.table, self.key_side)
    }

    fn and_bytes(&self, bytes: &str) -> String {
        if self.byte_side.is_empty() { String::new() } else { format!(" AND {} IN ({bytes})", self.byte_side) }
    }
}

/// The bytes of a column of text, as UTF-8.
pub(crate) fn as_bytes(name: &str) -> String {
    format!("BINARY CONVERT({name} USING utf8mb4)")
}
