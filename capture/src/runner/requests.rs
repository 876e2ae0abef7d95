//! Requests of operators to a source: who takes them, and what comes of them.
//!
//! Only the leader takes a request, at the start of a session, and carries it out by a checkpoint that holds the
//! request's id. A worker killed before the checkpoint is committed leaves the old position, and its successor begins
//! again; one killed behind it leaves a checkpoint that says what was done, and its successor answers. Kafka fences the
//! writer, so two cannot both carry it out. A repartition also changes Kafka and ZooKeeper: see [`super::growth`]; an
//! adoption changes nothing else: see [`super::adoption`].

use std::time::Duration;

use coordination::Taken;
use schemas::checkpoint::Checkpoint;
use schemas::request::{Outcome, SourceAction, Ticket};
use schemas::{Code, Error, Reaction, Result, names};
use tokio::sync::watch;

use super::Runner;
use super::growth::Caretaker;
use super::session::blocking;
use crate::binlog::place::{Place, new_start};
use crate::binlog::server::SourceServer;
use crate::kafka::checkpoints::recover;
use crate::publisher::now_ms;

/// How often a request that somebody else has taken is looked at again.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two attempts to follow the requests.
const FOLLOW: Duration = Duration::from_secs(1);

/// The request of a source, live.
pub(super) type Requests = watch::Receiver<Option<Ticket<SourceAction>>>;

/// What a session begins with.
#[derive(Debug)]
pub(super) enum Answered {
    /// Nothing was asked, or it was refused, or carried out before.
    Nothing,
    /// A reset: the checkpoint to commit, and the request that it answers.
    Reset(Box<Checkpoint>, Taken<SourceAction>),
    /// A repartition that is noted, or carried out already: the request to answer once it has ended.
    Repartition(Taken<SourceAction>),
}

impl Runner {
    /// Follows the requests of this source; tries until it can.
    pub(super) async fn follow_requests(&self) -> Requests {
        let name = self.source.name.as_str();
        loop {
            match self.site.coordination.requests().watch::<SourceAction>(name).await {
                Ok(requests) => return requests,
                Err(error) => tracing::warn!(source = name, %error, "requests to the source are not followed yet"),
            }
            tokio::time::sleep(FOLLOW).await;
        }
    }

    /// Takes what was asked and decides on it. `last` is the committed checkpoint.
    pub(super) async fn take_request(
        &self,
        last: Option<&Checkpoint>,
        server: &SourceServer,
        caretaker: &Caretaker<'_>,
    ) -> Result<Answered> {
        let (requests, name) = (self.site.coordination.requests(), self.source.name.as_str());
        let Some(taken) = requests.take::<SourceAction>(name, &self.site.worker).await? else {
            return Ok(Answered::Nothing);
        };
        let id = taken.request.id.as_str();
        let done = last.filter(|last| last.request.as_deref() == Some(id));
        let decided = match (&taken.request.action, done) {
            (SourceAction::Reset { .. }, Some(done)) => {
                self.answer(&taken, outcome(done)).await?;
                return Ok(Answered::Nothing);
            }
            (SourceAction::Repartition { .. }, Some(_)) => return Ok(Answered::Repartition(taken)),
            (SourceAction::Reset { to }, None) => match new_start(server, to).await {
                Ok(place) => {
                    let before = self.known(last).await?;
                    let checkpoint = reset(before.as_ref(), server, place, id);
                    tracing::warn!(source = name, request = id, %to, generation = checkpoint.generation, gtid = %checkpoint.gtid, "the source is reset");
                    return Ok(Answered::Reset(Box::new(checkpoint), taken));
                }
                Err(error) => error,
            },
            (SourceAction::Repartition { table, partitions }, None) => {
                match caretaker.note(id, table, *partitions).await {
                    Ok(()) => return Ok(Answered::Repartition(taken)),
                    Err(error) => error,
                }
            }
            (SourceAction::Adopt { table }, _) => match caretaker.adopt(id, table).await {
                Ok(outcome) => {
                    self.answer(&taken, outcome).await?;
                    return Ok(Answered::Nothing);
                }
                Err(error) => error,
            },
        };
        self.refuse(&taken, &decided).await?;
        Ok(Answered::Nothing)
    }

    /// Refuses a request that was taken, or gives the error back when it is one to try again.
    pub(super) async fn refuse(&self, taken: &Taken<SourceAction>, error: &Error) -> Result<()> {
        if error.code().reaction() == Reaction::Retry {
            return Err(Error::new(error.code(), error.message().to_owned()));
        }
        tracing::warn!(source = %self.source.name, request = taken.request.id, %error, "a request is refused");
        self.answer(taken, Outcome::refused("", error, Vec::new())).await
    }

    /// How far the source's numbers had come. Without a committed checkpoint that is what ZooKeeper remembers: appliers
    /// would take numbers that begin anew for events they have seen.
    async fn known(&self, last: Option<&Checkpoint>) -> Result<Option<Checkpoint>> {
        if let Some(last) = last {
            return Ok(Some(last.clone()));
        }
        let (coordination, name) = (&self.site.coordination, self.source.name.as_str());
        let remembered = [coordination.read_position(name).await?, coordination.read_purged(name).await?];
        Ok(remembered.into_iter().flatten().max_by_key(|c| (c.generation, c.ordinal)))
    }

    /// Tells whoever asked that the checkpoint of a reset is committed, or that a repartition has ended.
    pub(super) async fn done(&self, taken: &Taken<SourceAction>, checkpoint: &Checkpoint) -> Result<()> {
        self.answer(taken, outcome_of(&taken.request.action, checkpoint)).await
    }

    /// A source that cannot start cannot carry a request out either: answers one that is open.
    pub(super) async fn refuse_request(&self, error: &Error) {
        let refused = async {
            let (requests, name) = (self.site.coordination.requests(), self.source.name.as_str());
            let Some(taken) = requests.take::<SourceAction>(name, &self.site.worker).await? else { return Ok(()) };
            let done = match &taken.request.action {
                SourceAction::Adopt { table } => self.adopted(&taken.request.id, table).await?,
                action @ (SourceAction::Reset { .. } | SourceAction::Repartition { .. }) => {
                    let (kafka, topic) = (self.site.kafka.clone(), names::checkpoint_topic(&self.site.cluster, name));
                    let last = blocking(move || recover(&kafka, &topic)).await?.checkpoint;
                    let done = last.filter(|last| last.request.as_ref() == Some(&taken.request.id));
                    done.map(|done| outcome_of(action, &done))
                }
            };
            let refused = || Outcome::refused("", error, Vec::new());
            self.answer(&taken, done.unwrap_or_else(refused)).await
        };
        if let Err(error) = refused.await {
            tracing::warn!(source = %self.source.name, %error, "a request stays open");
        }
    }

    async fn answer(&self, taken: &Taken<SourceAction>, outcome: Outcome) -> Result<()> {
        match self.site.coordination.requests().answer(taken, outcome).await {
            // Another leader took it over; it reads the same checkpoint and answers the same.
            Err(error) if error.code() == Code::VersionConflict => {
                tracing::info!(source = %self.source.name, %error, "a request is answered by another worker");
                Ok(())
            }
            answered => answered,
        }
    }

    /// Returns once a request is open that this leader can take. `requests` was looked at when the session began.
    pub(super) async fn asked(&self, requests: &mut Requests) {
        let (taker, name) = (self.site.coordination.requests(), self.source.name.as_str());
        loop {
            open(requests).await;
            // What is taken here is taken again by the session that carries it out.
            if let Ok(Some(_)) = taker.take::<SourceAction>(name, &self.site.worker).await {
                return;
            }
            changed(requests).await;
        }
    }
}

/// Returns while a request is open.
async fn open(requests: &mut Requests) {
    if requests.wait_for(|ticket| ticket.as_ref().is_some_and(Ticket::is_open)).await.is_err() {
        // Nothing will be learned any more: the connection was closed, and a shutdown is on its way.
        std::future::pending::<()>().await;
    }
}

/// Returns once the request has changed, or after a while.
async fn changed(requests: &mut Requests) {
    // Passing time and the end of the watch come to the same: look again.
    drop(tokio::time::timeout(AGAIN, requests.changed()).await);
}

/// Returns once a stopped source is to be tried again for a request.
pub(super) async fn wake(requests: &mut Requests) {
    requests.mark_unchanged();
    if requests.borrow().as_ref().is_some_and(Ticket::is_open) {
        changed(requests).await;
    }
    open(requests).await;
}

/// The checkpoint of a reset: ordinals go on growing, so that what is read again is told from what was published before.
fn reset(last: Option<&Checkpoint>, server: &SourceServer, place: Place, id: &str) -> Checkpoint {
    let Place { gtid, file, position } = place;
    let new = Checkpoint { file, position, request: Some(id.to_owned()), ..Checkpoint::new(server.identity(), gtid) };
    Checkpoint {
        epoch: last.map_or(0, |last| last.epoch) + 1,
        time: now_ms(),
        generation: last.map_or(0, |last| last.generation) + 1,
        ordinal: last.map_or(new.ordinal, |last| last.ordinal),
        ..new
    }
}

fn outcome_of(action: &SourceAction, checkpoint: &Checkpoint) -> Outcome {
    match action {
        SourceAction::Reset { .. } => outcome(checkpoint),
        SourceAction::Repartition { table, partitions } => {
            let message = format!("the topic of {table} has {partitions} partitions");
            Outcome::done("", message, vec![serde_json::json!({"table": table, "partitions": partitions})])
        }
        // Its own answer says more; no checkpoint knows of it.
        SourceAction::Adopt { table } => Outcome::done("", format!("the topic of {table} is adopted"), Vec::new()),
    }
}

fn outcome(checkpoint: &Checkpoint) -> Outcome {
    let Checkpoint { generation, gtid, file, position, .. } = checkpoint;
    let message = match (gtid.is_empty(), file.is_empty()) {
        (false, _) => format!("capture goes on behind GTID {gtid} under generation {generation}"),
        (true, false) => format!("capture goes on at {file}:{position} under generation {generation}"),
        (true, true) => format!("capture goes on from the beginning under generation {generation}"),
    };
    let detail = serde_json::json!({"generation": generation, "gtid": gtid, "file": file, "position": position});
    Outcome::done("", message, vec![detail])
}
