//! The background task of a lease: stands in line, says how it stands, gives the place up at the end.
//!
//! Own nodes are recognised by a random id in their name. So a creation whose outcome is unknown is settled by looking,
//! and a node left by an expired session of this very contender (the ensemble was away and does not know yet) is removed
//! instead of being taken for somebody else.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zookeeper as zk;

use super::{LeaseState, Term};
use crate::session::{Sessions, is_definite, persistent};

/// What follows the random id in a contender's name, before the number.
const NAME: &str = "-lease-";
/// Digits of the number that ZooKeeper appends.
const DIGITS: usize = 10;

pub(super) struct Contender {
    sessions: Sessions,
    folder: String,
    holder: String,
    /// The beginning of the names of this contender's nodes.
    prefix: String,
    publish: watch::Sender<LeaseState>,
    term: Arc<Mutex<Option<Term>>>,
}

/// Where a contender stands.
enum Standing {
    First { node: String },
    Behind { holder: String },
}

/// What a look at the line says about this contender's own node.
enum Own {
    Stands,
    Missing,
    /// The names looked at are out of date.
    Changed,
}

impl Contender {
    pub(super) fn new(
        sessions: Sessions,
        folder: &str,
        holder: &str,
        publish: watch::Sender<LeaseState>,
        term: Arc<Mutex<Option<Term>>>,
    ) -> Self {
        let id: u128 = rand::random();
        let prefix = format!("_c_{id:032x}{NAME}");
        Self { sessions, folder: folder.to_owned(), holder: holder.to_owned(), prefix, publish, term }
    }

    /// Contends until `stop`, then gives the place up.
    pub(super) async fn run(self, stop: CancellationToken) {
        let closed = self.sessions.closed().clone();
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            () = stop.cancelled() => {}
            () = self.contend() => {}
        }
        // No more fenced writes from here on.
        self.leave_term(LeaseState::Unknown);
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            () = self.withdraw() => {}
        }
    }

    async fn contend(&self) {
        while let Some(client) = self.sessions.connected().await {
            let result = tokio::select! {
                biased;
                () = Sessions::disconnected(&client) => Ok(()),
                result = self.stand(&client) => result,
            };
            // Who was seen to hold it before the outage is still the best there is to say.
            let others = matches!(*self.publish.borrow(), LeaseState::HeldByOther(_));
            if others {
                *self.term.lock() = None;
            } else {
                self.leave_term(LeaseState::Unknown);
            }
            if let Err(error) = result {
                if is_definite(&error) {
                    warn!(lease = self.folder, %error, "cannot stand in line for a lease; trying again");
                }
                tokio::time::sleep(self.sessions.options().session_timeout / 40).await;
            }
        }
    }

    /// Stands in line on one connection; ends only by an error.
    async fn stand(&self, client: &zk::Client) -> Result<(), zk::Error> {
        loop {
            let (standing, changed) = self.look(client).await?;
            match standing {
                Standing::First { node } => self.enter_term(client, node),
                Standing::Behind { holder } => self.leave_term(LeaseState::HeldByOther(holder)),
            }
            changed.changed().await;
        }
    }

    /// Where this contender stands, getting in line first where needed, and what tells of a change.
    async fn look(&self, client: &zk::Client) -> Result<(Standing, zk::OneshotWatcher), zk::Error> {
        loop {
            let (names, changed) = match client.list_and_watch_children(&self.folder).await {
                Ok(found) => found,
                Err(zk::Error::NoNode) => {
                    client.mkdir(&self.folder, &persistent()).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.own_node(client, &names).await? {
                Own::Stands => {}
                Own::Changed => continue,
                Own::Missing => {
                    let ephemeral = zk::CreateMode::EphemeralSequential.with_acls(zk::Acls::anyone_all());
                    client.create(&self.node(&self.prefix), self.holder.as_bytes(), &ephemeral).await?;
                    continue;
                }
            }
            let Some(first) = in_line(&names).into_iter().next() else { continue };
            let node = self.node(first);
            if first.starts_with(&self.prefix) {
                return Ok((Standing::First { node }, changed));
            }
            match client.get_data(&node).await {
                Ok((data, _)) => {
                    let holder = String::from_utf8_lossy(&data).into_owned();
                    return Ok((Standing::Behind { holder }, changed));
                }
                Err(zk::Error::NoNode) => {} // it left in between
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for this contender's node of this session; removes what earlier sessions left.
    async fn own_node(&self, client: &zk::Client, names: &[String]) -> Result<Own, zk::Error> {
        let mut own = Own::Missing;
        for name in names.iter().filter(|name| name.starts_with(&self.prefix)) {
            let node = self.node(name);
            match client.check_stat(&node).await? {
                Some(stat) if stat.ephemeral_owner == client.session_id().0 => own = Own::Stands,
                Some(_) => {
                    delete(client, &node).await?;
                    return Ok(Own::Changed);
                }
                None => return Ok(Own::Changed),
            }
        }
        Ok(own)
    }

    fn node(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    fn enter_term(&self, client: &zk::Client, node: String) {
        let changed = self.publish.send_if_modified(|state| {
            *self.term.lock() = Some(Term { client: client.clone(), node: node.clone() });
            std::mem::replace(state, LeaseState::Held) != LeaseState::Held
        });
        if changed {
            info!(lease = self.folder, holder = self.holder, "holds the lease");
        }
    }

    fn leave_term(&self, next: LeaseState) {
        let changed = self.publish.send_if_modified(|state| {
            *self.term.lock() = None;
            std::mem::replace(state, next.clone()) != next
        });
        if changed {
            info!(lease = self.folder, holder = self.holder, state = ?next, "does not hold the lease");
        }
    }

    /// Deletes every node of this contender, however often it takes; a session that ends does it too.
    async fn withdraw(&self) {
        while let Some(client) = self.sessions.connected().await {
            let attempt = async {
                // A creation that was cut short was sent before this and is seen here.
                for name in client.list_children(&self.folder).await? {
                    if name.starts_with(&self.prefix) {
                        delete(&client, &self.node(&name)).await?;
                    }
                }
                Ok::<(), zk::Error>(())
            };
            match attempt.await {
                Ok(()) | Err(zk::Error::NoNode) => return,
                Err(error) if is_definite(&error) => {
                    warn!(lease = self.folder, %error, "cannot give a lease up; it goes with the session");
                    return;
                }
                Err(_) => tokio::time::sleep(self.sessions.options().session_timeout / 40).await,
            }
        }
    }
}

async fn delete(client: &zk::Client, node: &str) -> Result<(), zk::Error> {
    match client.delete(node, None).await {
        Ok(()) | Err(zk::Error::NoNode) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The contenders among the names of a lease's folder, the holder first.
fn in_line(names: &[String]) -> Vec<&str> {
    let number = |name: &str| -> Option<u64> {
        let (_, digits) = name.rsplit_once(NAME)?;
        (digits.len() >= DIGITS).then(|| digits.parse().ok()).flatten()
    };
    let mut line: Vec<(u64, &str)> = names.iter().filter_map(|name| Some((number(name)?, name.as_str()))).collect();
    line.sort_unstable();
    line.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_first_whatever_the_id() {
        let names = ["_c_ff-lease-0000000007", "_c_00-lease-0000000010", "position", "_c_aa-lease-", "_c_aa-lease-12"];
        let names: Vec<String> = names.map(str::to_owned).to_vec();
        assert_eq!(in_line(&names), ["_c_ff-lease-0000000007", "_c_00-lease-0000000010"]);
    }
}
