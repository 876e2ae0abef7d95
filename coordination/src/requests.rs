//! Requests: an operator's command to whoever serves a source or a pipeline. Taken once, answered once.
//!
//! One node each, `/sources/<name>/request` and `/pipelines/<name>/request`, holds the request asked last and its
//! outcome. Every step names the version of the node that it was decided on, so of two who take a request one succeeds,
//! and an answer never lands on a later request. A request that was taken by a worker which is not announced any more
//! may be taken again: the worker died, or lost its session and will find that its answer is refused.

use schemas::request::{Action, Outcome, OutcomeState, Request, Ticket};
use schemas::{Code, Error, Result, names};
use tokio::sync::watch;
use tracing::warn;
use zookeeper as zk;

use crate::session::{Answer, Sessions, persistent, refused};
use crate::{Coordination, check_size};

/// A request that this worker has taken and owes an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken<A> {
    /// Whose request it is: the source's or pipeline's name.
    pub name: String,
    /// The request.
    pub request: Request<A>,
    worker: String,
    version: i32,
}

/// The requests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Requests {
    coordination: Coordination,
}

impl Coordination {
    /// The requests to sources and pipelines.
    pub fn requests(&self) -> Requests {
        Requests { coordination: self.clone() }
    }
}

impl Requests {
    /// Stores a request in place of the one before, which must have been answered.
    ///
    /// # Errors
    /// `OT1011` while one is open, `OT1001` when the id is empty or too long, `OT2001` without an answer in time (then
    /// it may have been stored).
    pub async fn submit<A: Action>(&self, name: &str, request: &Request<A>) -> Result<()> {
        if request.id.is_empty() || request.id.len() > schemas::request::MAX_ID {
            let message = format!("the request's id {:?} has not 1 to {} bytes", request.id, schemas::request::MAX_ID);
            return Err(Error::new(Code::DocumentInvalid, message));
        }
        let ticket = Ticket::new(request.clone());
        loop {
            let now = self.load::<A>(name).await?;
            if let Some((open, _)) = now.as_ref().filter(|(ticket, _)| ticket.is_open()) {
                return Err(still_open(name, open));
            }
            match self.write(name, &ticket, now.map(|(_, version)| version)).await? {
                Written::Yes(_) => return Ok(()),
                Written::Conflict => {} // somebody else was faster: look again
            }
        }
    }

    /// The request asked last and what became of it; `None` when there never was one.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the node holds something else.
    pub async fn read<A: Action>(&self, name: &str) -> Result<Option<Ticket<A>>> {
        Ok(self.load(name).await?.map(|(ticket, _)| ticket))
    }

    /// Takes the open request, if there is one that no living worker has taken.
    ///
    /// # Errors
    /// `OT2001` without an answer in time, `OT2003` when the node holds something else.
    pub async fn take<A: Action>(&self, name: &str, worker: &str) -> Result<Option<Taken<A>>> {
        loop {
            let Some((mut ticket, version)) = self.load::<A>(name).await?.filter(|(ticket, _)| ticket.is_open()) else {
                return Ok(None);
            };
            // One's own taking counts as no living worker's: the process was started again, or its write got no answer.
            if let Some(other) = ticket.outcome.as_ref().map(|o| &o.by).filter(|by| *by != worker)
                && self.is_alive(other).await?
            {
                return Ok(None);
            }
            ticket.outcome = Some(Outcome::taken(worker));
            if let Written::Yes(version) = self.write(name, &ticket, Some(version)).await? {
                let (name, worker) = (name.to_owned(), worker.to_owned());
                return Ok(Some(Taken { name, request: ticket.request, worker, version }));
            }
        }
    }

    /// Answers a request that was taken.
    ///
    /// # Errors
    /// `OT1007` when somebody else took it over in between (what was done stays done, and the other finds it),
    /// `OT2001` without an answer in time: answer again.
    pub async fn answer<A: Action>(&self, taken: &Taken<A>, outcome: Outcome) -> Result<()> {
        let outcome = Outcome { by: taken.worker.clone(), ..outcome };
        let ticket = Ticket { request: taken.request.clone(), outcome: Some(outcome) };
        match self.write(&taken.name, &ticket, Some(taken.version)).await? {
            Written::Yes(_) => Ok(()),
            Written::Conflict => {
                let now = self.load::<A>(&taken.name).await?;
                // An earlier call of this method, which got no answer.
                if now.is_some_and(|(now, _)| now == ticket) {
                    return Ok(());
                }
                let message = format!("request {}: another worker took it over", taken.request.id);
                Err(Error::new(Code::VersionConflict, message))
            }
        }
    }

    /// Refuses a request in the name of whoever asked, if no worker has taken it; the ticket as it is now.
    ///
    /// # Errors
    /// `OT1006` when the request asked last is another, `OT2001` without an answer in time.
    pub async fn withdraw<A: Action>(&self, name: &str, id: &str, by: &str, why: &Error) -> Result<Ticket<A>> {
        loop {
            let now = self.load::<A>(name).await?.filter(|(ticket, _)| ticket.request.id == id);
            let Some((mut ticket, version)) = now else {
                return Err(Error::new(Code::NotFound, format!("{} {name} has no request {id} any more", A::NOUN)));
            };
            if ticket.outcome.is_some() {
                return Ok(ticket);
            }
            ticket.outcome = Some(Outcome::refused(by, why, Vec::new()));
            if let Written::Yes(_) = self.write(name, &ticket, Some(version)).await? {
                return Ok(ticket);
            }
        }
    }

    /// The request of a source or pipeline, live: the receiver always holds the state known last. Follows it for as
    /// long as there is a receiver.
    ///
    /// # Errors
    /// `OT2001` when the first state cannot be read in time, `OT2003` when the node holds something else.
    pub async fn watch<A: Action>(&self, name: &str) -> Result<watch::Receiver<Option<Ticket<A>>>> {
        let (publish, receiver) = watch::channel(self.read(name).await?);
        let path = names::request_path(A::FOLDER, name);
        let sessions = self.sessions().clone();
        tokio::spawn(async move {
            let follow = |client| follow_session(client, &path, &publish);
            sessions.keep_following(&path, publish.closed(), follow).await;
        });
        Ok(receiver)
    }

    fn sessions(&self) -> &Sessions {
        self.coordination.sessions()
    }

    async fn load<A: Action>(&self, name: &str) -> Result<Option<(Ticket<A>, i32)>> {
        let path = names::request_path(A::FOLDER, name);
        let path = path.as_str();
        match self.sessions().call(path, |client| async move { client.get_data(path).await }).await?.result {
            Ok((data, stat)) => Ok(Some((parse(path, &data)?, stat.version))),
            Err(zk::Error::NoNode) => Ok(None),
            Err(error) => Err(refused(path, error)),
        }
    }

    /// Writes the node where it has this version, or where there is none.
    async fn write<A: Action>(&self, name: &str, ticket: &Ticket<A>, version: Option<i32>) -> Result<Written> {
        let data = ticket.to_json()?;
        let path = names::request_path(A::FOLDER, name);
        check_size(&path, &data)?;
        let (path, data) = (path.as_str(), data.as_slice());
        let answer = self.sessions().call(path, |client| async move {
            match version {
                Some(version) => Ok(client.set_data(path, data, Some(version)).await?.version),
                None => create(&client, path, data).await,
            }
        });
        let Answer { result, repeated } = answer.await?;
        match result {
            Ok(version) => Ok(Written::Yes(version)),
            Err(zk::Error::BadVersion | zk::Error::NodeExists) => {
                // Its own first attempt may have succeeded although its answer got lost.
                let ours = version.map_or(0, |version| version.wrapping_add(1));
                let now =
                    self.load::<A>(name).await?.filter(|(now, found)| repeated && *found == ours && now == ticket);
                Ok(now.map_or(Written::Conflict, |(_, version)| Written::Yes(version)))
            }
            Err(zk::Error::NoNode) => Ok(Written::Conflict),
            Err(error) => Err(refused(path, error)),
        }
    }

    async fn is_alive(&self, worker: &str) -> Result<bool> {
        let path = names::worker_path(worker);
        let path = path.as_str();
        let answer = self.sessions().call(path, |client| async move { client.check_stat(path).await });
        answer.await?.result.map(|stat| stat.is_some()).map_err(|error| refused(path, error))
    }
}

/// What came of a compare-and-set.
enum Written {
    /// The node has this version now.
    Yes(i32),
    /// It was not as expected.
    Conflict,
}

async fn create(client: &zk::Client, path: &str, data: &[u8]) -> Result<i32, zk::Error> {
    match client.create(path, data, &persistent()).await {
        Err(zk::Error::NoNode) => {
            let folder = path.rfind('/').map_or("", |end| &path[..end]);
            client.mkdir(folder, &persistent()).await?;
            Ok(client.create(path, data, &persistent()).await?.0.version)
        }
        result => result.map(|(stat, _)| stat.version),
    }
}

fn parse<A: Action>(path: &str, data: &[u8]) -> Result<Ticket<A>> {
    Ticket::from_json(data).map_err(|e| Error::new(e.code(), format!("{path}: {}", e.message())).with_source(e))
}

fn still_open<A: Action>(name: &str, open: &Ticket<A>) -> Error {
    let Request { id, by, time, .. } = &open.request;
    let at = match open.outcome.as_ref().filter(|outcome| outcome.state == OutcomeState::Taken) {
        Some(outcome) => format!("worker {} is at it", outcome.by),
        None => "no worker has taken it yet".to_owned(),
    };
    Error::new(Code::RequestOpen, format!("{} {name}: request {id} of {by}, {time}: {at}", A::NOUN))
}

/// Follows the node until the connection breaks.
async fn follow_session<A: Action>(
    client: zk::Client,
    path: &str,
    publish: &watch::Sender<Option<Ticket<A>>>,
) -> Result<(), zk::Error> {
    loop {
        // The watch first: what changes while the node is read is then reported.
        let (found, watcher) = client.check_and_watch_stat(path).await?;
        let ticket = match found {
            None => Some(None),
            Some(_) => match client.get_data(path).await {
                Ok((data, _)) => parse(path, &data).map(Some).inspect_err(|error| warn!(%error, "a request")).ok(),
                Err(zk::Error::NoNode) => Some(None),
                Err(error) => return Err(error),
            },
        };
        // What cannot be read leaves the state known last.
        if let Some(ticket) = ticket {
            publish.send_if_modified(|known| {
                let changed = *known != ticket;
                *known = ticket;
                changed
            });
        }
        let event = watcher.changed().await;
        if event.event_type == zk::EventType::Session {
            return Ok(());
        }
    }
}
