//! The live watch of the tokens. There are few, so any event reads all of them again.

use std::sync::Arc;

use schemas::{Result, names};
use tokio::sync::watch;
use tracing::warn;
use zookeeper as zk;

use super::{TokenMap, TokenRecord};
use crate::session::{Sessions, persistent, refused};

/// Reads all tokens.
pub(super) async fn load(sessions: &Sessions) -> Result<TokenMap> {
    let answer = sessions.call("reading the tokens", |client| async move { load_all(&client).await });
    answer.await?.result.map_err(|error| refused("reading the tokens", error))
}

/// Reads the first state and follows it in the background for as long as the connection is open.
pub(super) async fn start(sessions: &Sessions) -> Result<watch::Receiver<Arc<TokenMap>>> {
    let loaded = load(sessions).await?;
    let (publish, receiver) = watch::channel(Arc::new(loaded));
    let sessions = sessions.clone();
    tokio::spawn(async move {
        let follow = |client| follow(client, &publish);
        sessions.keep_following("the tokens", publish.closed(), follow).await;
    });
    Ok(receiver)
}

/// Follows the tokens until the connection breaks.
async fn follow(client: zk::Client, publish: &watch::Sender<Arc<TokenMap>>) -> Result<(), zk::Error> {
    client.mkdir(names::TOKENS_PATH, &persistent()).await?;
    // The watch first: what changes while the state is read is then reported.
    let mut watcher = client.watch(names::TOKENS_PATH, zk::AddWatchMode::PersistentRecursive).await?;
    loop {
        let now = load_all(&client).await?;
        publish.send_if_modified(|known| {
            let differs = **known != now;
            if differs {
                *known = Arc::new(now);
            }
            differs
        });
        loop {
            let event = watcher.changed().await;
            if event.event_type != zk::EventType::Session {
                break;
            }
            if event.session_state != zk::SessionState::SyncConnected {
                // Never asked again: after the end of a session that would panic.
                return Ok(());
            }
        }
    }
}

/// A node that does not hold a token counts as none: nobody can have it.
async fn load_all(client: &zk::Client) -> Result<TokenMap, zk::Error> {
    let ids = match client.list_children(names::TOKENS_PATH).await {
        Ok(ids) => ids,
        Err(zk::Error::NoNode) => vec![],
        Err(error) => return Err(error),
    };
    let mut tokens = TokenMap::new();
    for id in ids {
        match client.get_data(&names::token_path(&id)).await {
            Ok((data, _)) => match serde_json::from_slice::<TokenRecord>(&data) {
                Ok(record) if record.id == id => drop(tokens.insert(id, record)),
                Ok(_) => warn!(id, "a token's node holds another token"),
                Err(error) => warn!(id, %error, "not a token's node"),
            },
            Err(zk::Error::NoNode) => {} // revoked in between
            Err(error) => return Err(error),
        }
    }
    Ok(tokens)
}
