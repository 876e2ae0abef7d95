//! `otter check`: the documents on their own and together, then each against its server.

use std::collections::{BTreeMap, BTreeSet};

use coordination::Documents;
use schemas::check::{Finding, Level};
use schemas::documents::{ApplySettings, Document, Kind, Pipeline, PipelineStart, Source, State, Target, World};
use schemas::{Code, Error, Result};
use serde::Serialize;

use super::{Report, Selection, stored, world};
use crate::table::align;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Findings(Vec<Finding>);

/// Checks the documents asked for.
pub(crate) async fn check(documents: &Documents, selection: &Selection) -> Result<Findings> {
    let stored = stored(documents).await?;
    let world = world(&stored);
    let chosen = stored.iter().filter(|s| selection.kinds().any(|k| k == s.kind) && selection.takes(&s.name));
    let mut findings = Vec::new();
    for document in chosen {
        let subject = format!("{} {}", document.kind, document.name);
        match &document.document {
            Err(e) => findings.push(Finding::error(subject, e)),
            Ok(document) => {
                let about = format!("{subject}:");
                let faults = world.faults();
                let faults: Vec<_> = faults.iter().filter(|f| f.message().starts_with(&about)).collect();
                findings.extend(faults.iter().map(|fault| Finding::error(&subject, fault)));
                if faults.is_empty() {
                    findings.extend(against_servers(selection, &world, document).await);
                }
            }
        }
    }
    if findings.is_empty() {
        let message = match &selection.name {
            Some(name) => format!("there is no {} {name}", selection.kind.map_or("document", Kind::as_str)),
            None => "there are no documents to check".to_owned(),
        };
        return Err(Error::new(Code::NotFound, message));
    }
    Ok(Findings(findings))
}

async fn against_servers(selection: &Selection, world: &World, document: &Document) -> Vec<Finding> {
    match document {
        Document::Source(source) => capture::check::check(source).await,
        // Its pipelines look at the target as well; alone it is looked at when nobody else does.
        Document::Target(target) => {
            let name = target.name.as_str();
            let covered = selection.kind.is_none() && !world.referrers(Kind::Target, name).is_empty();
            if covered { Vec::new() } else { apply::check(&bare(target), target, &BTreeMap::new()).await }
        }
        Document::Pipeline(pipeline) => {
            match (world.source(pipeline.source.as_str()), world.target(pipeline.target.as_str())) {
                (Some(source), Some(target)) => against_both(pipeline, source, target).await,
                // `faults` has said so.
                _ => Vec::new(),
            }
        }
    }
}

/// The target, its columns compared with the source's as far as the source can be asked.
async fn against_both(pipeline: &Pipeline, source: &Source, target: &Target) -> Vec<Finding> {
    let tables: BTreeSet<_> = pipeline.mappings.iter().filter_map(|m| m.from.exact()).collect();
    match capture::check::structures(source, &tables).await {
        Ok(structures) => apply::check(pipeline, target, &structures).await,
        Err(e) => {
            let subject = format!("pipeline {}: columns are not compared", pipeline.name);
            let mut findings = vec![Finding::error(subject, &e)];
            findings.extend(apply::check(pipeline, target, &BTreeMap::new()).await);
            findings
        }
    }
}

/// A pipeline without mappings, to look at what every pipeline needs of a target.
fn bare(target: &Target) -> Pipeline {
    Pipeline {
        name: target.name.clone(),
        source: target.name.clone(),
        target: target.name.clone(),
        state: State::Paused,
        mappings: Vec::new(),
        start: PipelineStart::default(),
        apply: ApplySettings::default(),
    }
}

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
