//! Requests to sources and pipelines, and where pipelines stand.
//!
//! A request is stored for whoever serves the source or pipeline; its answer comes later and is read or waited for.
//! One that no worker takes in time is withdrawn, so that it is not carried out when nobody expects it any more.

use std::time::Duration;

use schemas::documents::{Document, Kind, Pipeline};
use schemas::moment::Moment;
use schemas::offsets::{PipelineOffsets, SourcePlace};
use schemas::request::{Action, PipelineAction, Request, SourceAction, Ticket};
use schemas::{Code, Error, Result};

use super::audit::{AuditAction, AuditRecord};
use super::{Caller, Control};

impl Control {
    /// Asks something of a pipeline.
    ///
    /// # Errors
    /// `OT1006` without such a pipeline, `OT1011` while a request to it is open, `OT2001` without an answer in time.
    pub async fn ask_pipeline(
        &self,
        caller: &Caller,
        name: &str,
        action: PipelineAction,
    ) -> Result<Ticket<PipelineAction>> {
        self.submit(caller, Kind::Pipeline, name, action).await
    }

    /// Asks something of a source.
    ///
    /// # Errors
    /// As [`Control::ask_pipeline`].
    pub async fn ask_source(&self, caller: &Caller, name: &str, action: SourceAction) -> Result<Ticket<SourceAction>> {
        self.submit(caller, Kind::Source, name, action).await
    }

    async fn submit<A: Action>(&self, caller: &Caller, kind: Kind, name: &str, action: A) -> Result<Ticket<A>> {
        self.document(kind, name).await?;
        let id = format!("{:032x}", rand::random::<u128>());
        let request = Request { id, by: caller.name.clone(), time: Moment::now(), action };
        self.coordination().requests().submit(name, &request).await?;
        let mut record = AuditRecord::of(caller, AuditAction::Request, kind, name);
        record.details = serde_json::json!({"id": request.id, "action": request.action});
        self.tools().audit(record);
        Ok(Ticket::new(request))
    }

    /// The request asked last of a source or pipeline.
    ///
    /// # Errors
    /// `OT1006` when nothing was ever asked of it, `OT2001` without an answer in time.
    pub async fn request<A: Action>(&self, name: &str) -> Result<Ticket<A>> {
        let known = name.parse::<schemas::documents::Name>().is_ok();
        let ticket = if known { self.coordination().requests().read(name).await? } else { None };
        ticket.ok_or_else(|| Error::new(Code::NotFound, format!("nothing was asked of {} {name}", A::NOUN)))
    }

    /// Waits until a request is answered. One that no worker takes within `patience` is withdrawn.
    ///
    /// # Errors
    /// `OT1006` when another request took its place, `OT2001` without an answer of ZooKeeper in time.
    pub async fn answer<A: Action>(
        &self,
        caller: &Caller,
        name: &str,
        id: &str,
        patience: Duration,
    ) -> Result<Ticket<A>> {
        let requests = self.coordination().requests();
        let mut live = requests.watch::<A>(name).await?;
        let ours = |ticket: &Option<Ticket<A>>| ticket.as_ref().is_some_and(|ticket| ticket.request.id == id);
        let replaced = || Error::new(Code::NotFound, format!("{} {name} has another request by now", A::NOUN));
        let taken = |ticket: &Option<Ticket<A>>| !ours(ticket) || ticket.as_ref().is_some_and(|t| t.outcome.is_some());
        let seen = tokio::time::timeout(patience, live.wait_for(taken)).await.is_ok();
        if !seen {
            let message = format!("no worker that serves {} {name} took the request within {patience:?}", A::NOUN);
            let why = Error::new(Code::NotFound, message);
            let ticket = requests.withdraw(name, id, &caller.name, &why).await?;
            if !ticket.is_open() {
                return Ok(ticket);
            }
        }
        let done = |ticket: &Option<Ticket<A>>| !ours(ticket) || ticket.as_ref().is_some_and(|t| !t.is_open());
        let ticket = match live.wait_for(done).await {
            Ok(ticket) => ticket.clone(),
            Err(e) => return Err(Error::new(Code::ZooKeeperUnavailable, "the connection was closed").with_source(e)),
        };
        ticket.filter(|ticket| ticket.request.id == id).ok_or_else(replaced)
    }

    /// Where pipelines stand, one or all; what cannot be read of one is said there.
    ///
    /// # Errors
    /// `OT1006` without the pipeline named, `OT2001` without an answer in time.
    pub async fn offsets(&self, name: Option<&str>) -> Result<Vec<PipelineOffsets>> {
        let mut pipelines = Vec::new();
        match name {
            Some(name) => pipelines.push(self.document(Kind::Pipeline, name).await?.0),
            None => {
                let stored = self.stored().await?.into_iter().filter(|s| s.kind == Kind::Pipeline);
                pipelines.extend(stored.filter_map(|stored| stored.document.ok()));
            }
        }
        let mut all = Vec::new();
        for document in pipelines {
            if let Document::Pipeline(pipeline) = document {
                all.push(self.offsets_of(&pipeline).await?);
            }
        }
        Ok(all)
    }

    async fn offsets_of(&self, pipeline: &Pipeline) -> Result<PipelineOffsets> {
        let checkpoint = self.coordination().read_position(pipeline.source.as_str()).await?;
        let mut found = PipelineOffsets {
            pipeline: pipeline.name.to_string(),
            source: pipeline.source.to_string(),
            checkpoint: checkpoint.as_ref().map(SourcePlace::from),
            lanes: Vec::new(),
            error: None,
        };
        let source = self.document(Kind::Source, pipeline.source.as_str()).await;
        let target = self.document(Kind::Target, pipeline.target.as_str()).await;
        let lanes = match (source, target) {
            (Ok((Document::Source(source), _)), Ok((Document::Target(target), _))) => {
                self.tools().offsets(self.coordination().schemas(), pipeline, &source, &target).await
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Err(Error::new(Code::NodeInvalid, "a document is of another kind than its place says")),
        };
        match lanes {
            Ok(lanes) => found.lanes = lanes,
            Err(error) => found.error = Some(error.to_string()),
        }
        Ok(found)
    }
}
