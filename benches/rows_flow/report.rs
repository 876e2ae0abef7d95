//! Collects the figures and prints them as Markdown and JSON: medians, with the lowest and highest run beside them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::otter::Flow;

/// One run of one case: named figures such as `rows/s`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measure(pub(crate) BTreeMap<&'static str, f64>);

impl Measure {
    /// The figures of a flow of rows through a process.
    pub(crate) fn of(flow: &Flow) -> Self {
        let rows = flow.rows as f64;
        Self(BTreeMap::from([
            ("rows/s", rows / flow.seconds),
            ("CPU-s/M rows", flow.cpu_seconds / rows * 1e6),
            ("peak RSS MiB", flow.peak_rss_mib),
        ]))
    }

    /// Rows a second alone.
    pub(crate) fn rate(rows: u64, seconds: f64) -> Self {
        Self(BTreeMap::from([("rows/s", rows as f64 / seconds)]))
    }
}

/// All cases in the order in which they first came.
#[derive(Debug, Default)]
pub(crate) struct Report {
    cases: Vec<(String, Vec<Measure>)>,
}

/// The ratios that are asked for: case, its baseline, and the figure compared.
const RATIOS: [(&str, &str); 3] = [
    ("capture W1 (inserts)", "baseline: idempotent produce of the same records"),
    ("capture W2 (one-row updates)", "baseline: bare binlog stream that counts events"),
    ("apply W1 (inserts)", "baseline: best bare client loop (bulk inserts)"),
];

impl Report {
    /// An empty report.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a run of a case and prints it.
    pub(crate) fn add(&mut self, case: &str, measure: Measure) {
        eprintln!("  {case}: {}", figures(measure.0.iter().map(|(name, value)| (*name, *value))));
        match self.cases.iter_mut().find(|(name, _)| name == case) {
            Some((_, runs)) => runs.push(measure),
            None => self.cases.push((case.to_owned(), vec![measure])),
        }
    }

    /// Median, lowest and highest of a figure of a case.
    fn spread(&self, case: &str, figure: &str) -> Option<(f64, f64, f64)> {
        let (_, runs) = self.cases.iter().find(|(name, _)| name == case)?;
        let mut values: Vec<f64> = runs.iter().filter_map(|run| run.0.get(figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        Some((*values.get(values.len() / 2)?, *values.first()?, *values.last()?))
    }

    /// Case over baseline, run by run, as median, lowest, highest.
    fn ratio(&self, case: &str, baseline: &str) -> Option<(f64, f64, f64)> {
        let runs = |wanted: &str| self.cases.iter().find(|(name, _)| name == wanted).map(|(_, runs)| runs);
        let pairs = runs(case)?.iter().zip(runs(baseline)?);
        let mut values: Vec<f64> = pairs.filter_map(|(a, b)| Some(a.0.get("rows/s")? / b.0.get("rows/s")?)).collect();
        values.sort_by(f64::total_cmp);
        Some((*values.get(values.len() / 2)?, *values.first()?, *values.last()?))
    }

    /// The tables as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("| case | figure | median | lowest | highest |\n| --- | --- | --- | --- | --- |\n");
        for (case, runs) in &self.cases {
            for figure in runs.first().map(|run| run.0.keys()).into_iter().flatten() {
                if let Some((median, low, high)) = self.spread(case, figure) {
                    text.push_str(&format!(
                        "| {case} | {figure} | {} | {} | {} |\n",
                        short(median),
                        short(low),
                        short(high)
                    ));
                }
            }
        }
        text.push_str("\n| ratio of rows/s, run by run | median | lowest | highest |\n| --- | --- | --- | --- |\n");
        for (case, baseline) in RATIOS {
            if let Some((median, low, high)) = self.ratio(case, baseline) {
                text.push_str(&format!("| {case} / {baseline} | {median:.2} | {low:.2} | {high:.2} |\n"));
            }
        }
        text
    }

    /// Writes `bench.md` and `bench.json` into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        std::fs::write(folder.join("bench.md"), self.markdown())?;
        let cases: Vec<_> = self
            .cases
            .iter()
            .map(|(name, runs)| json!({"case": name, "runs": runs.iter().map(|run| &run.0).collect::<Vec<_>>()}))
            .collect();
        let ratios: Vec<_> = RATIOS
            .iter()
            .filter_map(|(case, baseline)| {
                Some(json!({"case": case, "baseline": baseline, "median": self.ratio(case, baseline)?.0}))
            })
            .collect();
        let document = json!({"cases": cases, "ratios": ratios});
        std::fs::write(folder.join("bench.json"), serde_json::to_string_pretty(&document)?)?;
        Ok(())
    }
}

fn figures(values: impl Iterator<Item = (&'static str, f64)>) -> String {
    values.map(|(name, value)| format!("{} {name}", short(value))).collect::<Vec<_>>().join(", ")
}

/// Three or four significant digits.
fn short(value: f64) -> String {
    if value >= 1000.0 { format!("{:.0}k", value / 1000.0) } else { format!("{value:.2}") }
}
