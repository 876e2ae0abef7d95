//! Kafka and ZooKeeper, then documents on their own and together, then each against its server.

use schemas::check::Finding;
use schemas::documents::{Document, Kind, World};
use schemas::{Code, Error, Result};

use super::{Control, Selection, world};

impl Control {
    /// Checks the documents meant.
    ///
    /// # Errors
    /// `OT1006` when there is nothing to check, `OT2001` without an answer in time. What is wrong with documents and
    /// servers is a finding, not an error.
    pub async fn check(&self, selection: &Selection) -> Result<Vec<Finding>> {
        let stored = self.stored().await?;
        let world = world(&stored);
        let mut findings = Vec::new();
        if selection.kind.is_none() && !stored.is_empty() {
            let sources = world.sources().cloned().collect();
            findings.extend(self.tools().check_site(self.coordination(), sources).await);
        }
        for document in stored.iter().filter(|s| selection.takes(s.kind, &s.name)) {
            let subject = format!("{} {}", document.kind, document.name);
            match &document.document {
                Err(e) => findings.push(Finding::error(subject, e)),
                Ok(document) => {
                    let about = format!("{subject}:");
                    let faults = world.faults();
                    let faults: Vec<_> = faults.iter().filter(|f| f.message().starts_with(&about)).collect();
                    findings.extend(faults.iter().map(|fault| Finding::error(&subject, fault)));
                    if faults.is_empty() {
                        findings.extend(self.against_servers(selection, &world, document).await);
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
        Ok(findings)
    }

    async fn against_servers(&self, selection: &Selection, world: &World, document: &Document) -> Vec<Finding> {
        match document {
            Document::Source(source) => self.tools().check_source(source).await,
            // Its pipelines look at the target as well; alone it is looked at when nobody else does.
            Document::Target(target) => {
                let name = target.name.as_str();
                let covered = selection.kind.is_none() && !world.referrers(Kind::Target, name).is_empty();
                if covered { Vec::new() } else { self.tools().check_target(target).await }
            }
            Document::Pipeline(pipeline) => {
                match (world.source(pipeline.source.as_str()), world.target(pipeline.target.as_str())) {
                    (Some(source), Some(target)) => self.tools().check_pipeline(pipeline, source, target).await,
                    // `faults` has said so.
                    _ => Vec::new(),
                }
            }
        }
    }
}
