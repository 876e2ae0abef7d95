//! The live watch of the documents of one kind.
//!
//! A recursive watch tells which node changed; only that one is read again. After every lost connection the watch is
//! set anew and everything is read again: ZooKeeper does not report what happened in between, and this client does not
//! set recursive watches again by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::documents::Kind;
use schemas::{Result, names};
use tokio::sync::watch;
use tracing::warn;
use zookeeper as zk;

use super::{Snapshot, Versioned, parse};
use crate::session::{Sessions, is_definite, persistent, refused};

/// A document as read, with the transaction that wrote it: the version alone would not tell a document that was deleted
/// and made again.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    written: i64,
    document: Versioned<Result<schemas::documents::Document, Arc<schemas::Error>>>,
}

pub(super) type Loaded = BTreeMap<String, Entry>;

/// Reads all documents of a kind.
pub(super) async fn load(sessions: &Sessions, kind: Kind) -> Result<Loaded> {
    let what = format!("reading the {}", kind.folder());
    let answer = sessions.call(&what, |client| async move { load_all(&client, kind).await });
    answer.await?.result.map_err(|error| refused(&what, error))
}

pub(super) fn snapshot(loaded: &Loaded) -> Snapshot {
    loaded.iter().map(|(name, entry)| (name.clone(), entry.document.clone())).collect()
}

/// Reads the first state and follows it in the background for as long as the connection is open.
pub(super) async fn start(sessions: &Sessions, kind: Kind) -> Result<watch::Receiver<Arc<Snapshot>>> {
    let loaded = load(sessions, kind).await?;
    let (publish, receiver) = watch::channel(Arc::new(snapshot(&loaded)));
    tokio::spawn(Follower { sessions: sessions.clone(), kind, loaded, publish }.run());
    Ok(receiver)
}

struct Follower {
    sessions: Sessions,
    kind: Kind,
    loaded: Loaded,
    publish: watch::Sender<Arc<Snapshot>>,
}

impl Follower {
    async fn run(mut self) {
        let closed = self.sessions.closed().clone();
        let work = async {
            while let Some(client) = self.sessions.connected().await {
                if let Err(error) = self.follow(&client).await {
                    if is_definite(&error) {
                        warn!(kind = %self.kind, %error, "cannot follow the documents; trying again");
                    }
                    tokio::time::sleep(self.sessions.options().session_timeout / 40).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = closed.cancelled() => {}
            () = work => {}
        }
    }

    /// Follows the documents until the connection breaks.
    async fn follow(&mut self, client: &zk::Client) -> Result<(), zk::Error> {
        let folder = names::documents_path(self.kind.folder());
        client.mkdir(&folder, &persistent()).await?;
        // The watch first: what changes while the state is read is then reported.
        let mut watcher = client.watch(&folder, zk::AddWatchMode::PersistentRecursive).await?;
        let loaded = load_all(client, self.kind).await?;
        self.replace(loaded);
        loop {
            let event = watcher.changed().await;
            if event.event_type == zk::EventType::Session {
                if event.session_state == zk::SessionState::SyncConnected {
                    continue;
                }
                // Never asked again: after the end of a session that would panic.
                return Ok(());
            }
            let name = event.path.strip_prefix(&folder).and_then(|rest| rest.strip_prefix('/'));
            match name.filter(|name| !name.contains('/')) {
                Some(name) => self.refresh(client, name).await?,
                // The folder itself: it was deleted, and the watch stays only if it is made again.
                None => client.mkdir(&folder, &persistent()).await?,
            }
        }
    }

    fn replace(&mut self, loaded: Loaded) {
        let stamps = |loaded: &Loaded| -> Vec<(String, i64)> {
            loaded.iter().map(|(name, entry)| (name.clone(), entry.written)).collect()
        };
        let changed = stamps(&self.loaded) != stamps(&loaded);
        self.loaded = loaded;
        if changed {
            self.publish.send_replace(Arc::new(snapshot(&self.loaded)));
        }
    }

    async fn refresh(&mut self, client: &zk::Client, name: &str) -> Result<(), zk::Error> {
        let entry = load_one(client, self.kind, name).await?;
        let known = self.loaded.get(name).map(|entry| entry.written);
        if known == entry.as_ref().map(|entry| entry.written) {
            return Ok(()); // an earlier reading was already as new as this event
        }
        match entry {
            Some(entry) => self.loaded.insert(name.to_owned(), entry),
            None => self.loaded.remove(name),
        };
        self.publish.send_replace(Arc::new(snapshot(&self.loaded)));
        Ok(())
    }
}

async fn load_all(client: &zk::Client, kind: Kind) -> Result<Loaded, zk::Error> {
    let found = match client.list_children(&names::documents_path(kind.folder())).await {
        Ok(found) => found,
        Err(zk::Error::NoNode) => vec![],
        Err(error) => return Err(error),
    };
    let mut loaded = Loaded::new();
    for name in found {
        if let Some(entry) = load_one(client, kind, &name).await? {
            loaded.insert(name, entry);
        }
    }
    Ok(loaded)
}

async fn load_one(client: &zk::Client, kind: Kind, name: &str) -> Result<Option<Entry>, zk::Error> {
    match client.get_data(&names::document_path(kind.folder(), name)).await {
        Ok((data, stat)) => {
            let value = parse(kind, name, &data).map_err(Arc::new);
            Ok(Some(Entry { written: stat.mzxid, document: Versioned { version: stat.version, value } }))
        }
        Err(zk::Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}
