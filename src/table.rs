//! Columns of text, aligned.

/// Lines with their cells aligned to the left, two spaces between columns, no spaces at the ends.
pub(crate) fn align(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| lines().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for line in lines() {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn cells_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["数据".to_owned(), String::new()]];
        assert_eq!(super::align(&["NAME", "N"], &rows), "NAME  N\na     1\n数据\n");
    }
}
