//! The two ways in: the admin API, or ZooKeeper itself. Both give the same values.

use std::time::Duration;

use admin::control::changes::Change;
use admin::control::documents::{Delete, Deleted, Entry, Put, StateSet};
use admin::control::status::Status;
use admin::control::tokens::{NewToken, TokenInfo};
use admin::control::{Caller, Control, Selection};
use coordination::Role;
use schemas::check::Finding;
use schemas::documents::{Document, Kind, State};
use schemas::offsets::PipelineOffsets;
use schemas::request::{PipelineAction, SourceAction, Ticket};
use schemas::{Code, Error, Result};

use crate::client::Client;

/// How long a worker may take to take a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A way in.
pub(crate) enum Front {
    /// Through the admin API.
    Api(Client),
    /// On ZooKeeper.
    Direct(Control, Caller),
}

impl Front {
    pub(crate) async fn documents(&self, selection: &Selection) -> Result<Vec<Entry>> {
        match self {
            Self::Api(client) => client.documents(selection).await,
            Self::Direct(control, _) => control.documents(selection).await,
        }
    }

    pub(crate) async fn put(&self, documents: Vec<Document>) -> Result<Vec<Change>> {
        match self {
            Self::Api(client) => client.put(&documents).await,
            Self::Direct(control, caller) => control.put(caller, documents, Put::default()).await,
        }
    }

    pub(crate) async fn delete(&self, kind: Kind, name: &str, purge: bool) -> Result<Deleted> {
        match self {
            Self::Api(client) => client.delete(kind, name, purge).await,
            Self::Direct(control, caller) => control.delete(caller, kind, name, Delete { version: None, purge }).await,
        }
    }

    pub(crate) async fn set_state(&self, name: &str, table: Option<&str>, state: State) -> Result<StateSet> {
        match self {
            Self::Api(client) => client.set_state(name, table, state).await,
            Self::Direct(control, caller) => control.set_state(caller, name, table, state).await,
        }
    }

    pub(crate) async fn check(&self, selection: &Selection) -> Result<Vec<Finding>> {
        match self {
            Self::Api(client) => client.check(selection).await,
            Self::Direct(control, _) => control.check(selection).await,
        }
    }

    pub(crate) async fn offsets(&self, name: Option<&str>) -> Result<Vec<PipelineOffsets>> {
        match self {
            Self::Api(client) => client.offsets(name).await,
            Self::Direct(control, _) => control.offsets(name).await,
        }
    }

    /// Asks a pipeline and waits for its answer.
    pub(crate) async fn ask_pipeline(&self, name: &str, action: PipelineAction) -> Result<Ticket<PipelineAction>> {
        match self {
            Self::Api(client) => client.request(name, &action).await,
            Self::Direct(control, caller) => {
                let asked = control.ask_pipeline(caller, name, action).await?;
                control.answer(caller, name, &asked.request.id, PATIENCE).await
            }
        }
    }

    /// Asks a source and waits for its answer.
    pub(crate) async fn ask_source(&self, name: &str, action: SourceAction) -> Result<Ticket<SourceAction>> {
        match self {
            Self::Api(client) => client.request(name, &action).await,
            Self::Direct(control, caller) => {
                let asked = control.ask_source(caller, name, action).await?;
                control.answer(caller, name, &asked.request.id, PATIENCE).await
            }
        }
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        match self {
            Self::Api(client) => client.status().await,
            Self::Direct(control, caller) => control.status(caller).await,
        }
    }

    /// Only directly: before the first token nobody can ask the API.
    pub(crate) async fn init_token(&self, again: bool) -> Result<NewToken> {
        match self {
            Self::Api(_) => Err(Error::new(Code::NotAllowed, "the first token is made on ZooKeeper itself")),
            Self::Direct(control, caller) => control.init_token(caller, again).await,
        }
    }

    pub(crate) async fn create_token(&self, name: &str, role: Role) -> Result<NewToken> {
        match self {
            Self::Api(client) => client.create_token(name, role).await,
            Self::Direct(control, caller) => control.create_token(caller, name, role).await,
        }
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<TokenInfo>> {
        match self {
            Self::Api(client) => client.tokens().await,
            Self::Direct(control, _) => control.tokens().await,
        }
    }

    pub(crate) async fn revoke_token(&self, id: &str) -> Result<TokenInfo> {
        match self {
            Self::Api(client) => client.revoke_token(id).await,
            Self::Direct(control, caller) => control.revoke_token(caller, id).await,
        }
    }
}
