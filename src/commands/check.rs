//! `otter check`: the documents on their own and together, then each against its server.

use schemas::check::{Finding, Level};
use serde::Serialize;

use super::Report;
use crate::table::align;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Report for Findings {
    fn text(&self) -> String {
        let row = |f: &Finding| {
            let level = match f.level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Error => "error",
            };
            let code = f.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
            vec![level.to_owned(), f.subject.clone(), format!("{code}{}", f.message)]
        };
        let table = align(&["LEVEL", "SUBJECT", "FINDING"], &self.0.iter().map(row).collect::<Vec<_>>());
        // Remedies have lines of their own, below what they are for.
        let mut lines = table.lines();
        let mut text = lines.next().unwrap_or_default().to_owned() + "\n";
        for (line, finding) in lines.zip(&self.0) {
            text.push_str(line);
            text.push('\n');
            if !finding.remedy.is_empty() {
                text.push_str(&format!("         remedy: {}\n", finding.remedy));
            }
        }
        text
    }

    fn success(&self) -> bool {
        self.0.iter().all(|f| f.level != Level::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{Code, Error};

    #[test]
    fn remedies_stand_below_their_findings() {
        let error = Error::new(Code::SourceSetting, "binlog_format is STATEMENT");
        let findings = Findings(vec![
            Finding::ok("source shop", "db1:3306 answers"),
            Finding { remedy: "SET GLOBAL binlog_format = ROW".into(), ..Finding::error("source shop", &error) },
        ]);
        assert!(!findings.success());
        insta::assert_snapshot!(findings.text(), @r"
        LEVEL  SUBJECT      FINDING
        ok     source shop  db1:3306 answers
        error  source shop  OT3002: binlog_format is STATEMENT
                 remedy: SET GLOBAL binlog_format = ROW
        ");
    }
}
