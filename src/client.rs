//! The command line as a client of the admin API.

use std::time::Duration;

use admin::api::problem::Problem;
use admin::api::{BASE, TokenWanted};
use admin::control::Selection;
use admin::control::changes::{Change, json};
use admin::control::documents::{Deleted, Entry, StateSet};
use admin::control::status::Status;
use admin::control::tokens::{NewToken, TokenInfo};
use coordination::Role;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use schemas::check::Finding;
use schemas::documents::{Document, Kind, State};
use schemas::offsets::PipelineOffsets;
use schemas::request::{Action, Ticket};
use schemas::secret::Secret;
use schemas::{Code, Error, Result};
use serde::de::DeserializeOwned;

use crate::config::Config;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take: checks look at every table of a server.
const ANSWER: Duration = Duration::from_secs(300);
/// Seconds that the API waits for the answer to a request before it says that there is none yet.
const ANSWER_WAIT: &str = "60";
/// How often a request is looked at that takes longer.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hosts that are this machine.
const LOCAL: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Asks the admin API.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

impl Client {
    /// A client for the API of the configuration.
    ///
    /// # Errors
    /// `OT1004` when the URL is none, `OT1003` when the reference to the token leads nowhere.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let url = config.api_url()?;
        let base = base(&url)?;
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none());
        if base.host_str().is_some_and(|host| LOCAL.contains(&host)) {
            // A proxy would look on its own machine, and would see the token.
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|e| Error::new(Code::AdminUnreachable, format!("no HTTP client: {e}")).with_source(e))?;
        Ok(Self { http, base, token: config.client.token()? })
    }

    pub(crate) async fn documents(&self, selection: &Selection) -> Result<Vec<Entry>> {
        let mut query = Vec::new();
        query.extend(selection.kind.map(|kind| ("kind", kind.as_str())));
        query.extend(selection.name.as_deref().map(|name| ("name", name)));
        let mut url = self.url(&["documents"])?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.http.get(url)).await
    }

    pub(crate) async fn put(&self, documents: &[Document]) -> Result<Vec<Change>> {
        let documents = documents.iter().map(json).collect::<Result<Vec<_>>>()?;
        self.send(self.http.post(self.url(&["documents"])?).json(&documents)).await
    }

    pub(crate) async fn delete(&self, kind: Kind, name: &str, purge: bool) -> Result<Deleted> {
        let mut url = self.url(&["documents", kind.as_str(), name])?;
        if purge {
            url.query_pairs_mut().append_pair("purge", "true");
        }
        self.send(self.http.delete(url)).await
    }

    pub(crate) async fn set_state(&self, name: &str, table: Option<&str>, state: State) -> Result<StateSet> {
        let verb = match state {
            State::Paused => "pause",
            State::Running => "resume",
        };
        let mut url = self.url(&[Kind::Pipeline.folder(), name, verb])?;
        if let Some(table) = table {
            url.query_pairs_mut().append_pair("table", table);
        }
        self.send(self.http.post(url)).await
    }

    pub(crate) async fn check(&self, selection: &Selection) -> Result<Vec<Finding>> {
        match (selection.kind, &selection.name) {
            (Some(kind), Some(name)) => self.ask(Method::POST, &["check", kind.as_str(), name]).await,
            (kind, _) => {
                let mut url = self.url(&["check"])?;
                if let Some(kind) = kind {
                    url.query_pairs_mut().append_pair("kind", kind.as_str());
                }
                self.send(self.http.post(url)).await
            }
        }
    }

    pub(crate) async fn offsets(&self, name: Option<&str>) -> Result<Vec<PipelineOffsets>> {
        match name {
            Some(name) => Ok(vec![self.ask(Method::GET, &["pipelines", name, "offsets"]).await?]),
            None => self.ask(Method::GET, &["offsets"]).await,
        }
    }

    /// Asks something of a source or pipeline, and waits for the answer.
    pub(crate) async fn request<A: Action>(&self, name: &str, action: &A) -> Result<Ticket<A>> {
        let path = [A::FOLDER, name, "request"];
        let mut url = self.url(&path)?;
        url.query_pairs_mut().append_pair("wait", ANSWER_WAIT);
        let asked: Ticket<A> = self.send(self.http.post(url).json(action)).await?;
        let mut now = asked.clone();
        while now.is_open() && now.request.id == asked.request.id {
            tokio::time::sleep(LOOK_EVERY).await;
            now = self.ask(Method::GET, &path).await?;
        }
        if now.request.id == asked.request.id {
            return Ok(now);
        }
        let message = format!("{} {name} has another request by now", A::NOUN);
        Err(Error::new(Code::NotFound, message))
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        self.ask(Method::GET, &["status"]).await
    }

    pub(crate) async fn tokens(&self) -> Result<Vec<TokenInfo>> {
        self.ask(Method::GET, &["tokens"]).await
    }

    pub(crate) async fn create_token(&self, name: &str, role: Role) -> Result<NewToken> {
        let wanted = TokenWanted { name: name.to_owned(), role };
        self.send(self.http.post(self.url(&["tokens"])?).json(&wanted)).await
    }

    pub(crate) async fn revoke_token(&self, id: &str) -> Result<TokenInfo> {
        self.ask(Method::DELETE, &["tokens", id]).await
    }

    /// A request without a body, to a path below `/api/v1` given by its segments.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, method: Method, segments: &[&str]) -> Result<T> {
        let url = self.url(segments)?;
        self.send(self.http.request(method, url)).await
    }

    /// The URL of a path below `/api/v1`, its segments escaped.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        let cannot = || Error::new(Code::ConfigInvalid, format!("client.url: {} cannot have a path", self.base));
        url.path_segments_mut()
            .map_err(|()| cannot())?
            .pop_if_empty()
            .extend(BASE.trim_start_matches('/').split('/'))
            .extend(segments);
        Ok(url)
    }

    /// Sends a request with the token and reads the answer.
    ///
    /// # Errors
    /// `OT1026` without an answer, `OT1027` when it is not from the API, and what the API says.
    pub(crate) async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        };
        let answer = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = answer.status();
        let json = is_json(&answer);
        let body = answer.bytes().await.map_err(|e| self.unreachable(&e))?;
        if status.is_success() && json {
            return serde_json::from_slice(&body).map_err(|e| self.stranger(status).with_source(e));
        }
        let problem: Problem = serde_json::from_slice(&body).map_err(|e| self.stranger(status).with_source(e))?;
        Err(match Code::from_id(&problem.code) {
            Some(code) => Error::new(code, problem.detail),
            // A later version's code.
            None => {
                Error::new(Code::RequestInvalid, format!("{}: {}: {}", problem.code, problem.title, problem.detail))
            }
        })
    }

    fn unreachable(&self, e: &reqwest::Error) -> Error {
        // The innermost cause: the outer ones repeat the address.
        let mut cause: &dyn std::error::Error = e;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let reason = if e.is_timeout() { "no answer in time".to_owned() } else { cause.to_string() };
        Error::new(Code::AdminUnreachable, format!("{}: {reason}", self.base))
    }

    fn stranger(&self, status: StatusCode) -> Error {
        Error::new(Code::NotAdmin, format!("{} answers {status}, but not as Otter's admin API does", self.base))
    }
}

/// The URL of the API. Its text is not repeated: somebody may have written a password into it.
fn base(url: &str) -> Result<Url> {
    let wrong = |why: String| Err(Error::new(Code::ConfigInvalid, format!("client.url: {why}")));
    match url.parse::<Url>() {
        Err(e) => wrong(format!("this is not a URL: {e}")),
        Ok(url) if !["http", "https"].contains(&url.scheme()) || url.host().is_none() => {
            wrong("this is not an http or https URL".to_owned())
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            wrong("it holds a user or password; `client.token` or OTTER_TOKEN is for that".to_owned())
        }
        Ok(url) => Ok(url),
    }
}

fn is_json(answer: &Response) -> bool {
    let media = answer.headers().get(reqwest::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    media.is_some_and(|m| m.starts_with("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_work_are_refused_without_repeating_them() {
        assert!(base("https://otter.example:8010/behind/a/proxy").is_ok());
        for url in ["http//u:hunter2@x", "u:hunter2@x:1", "ftp://hunter2", "http://u:hunter2@x", "http://hunter2@x"] {
            let e = base(url).expect_err("refused").to_string();
            assert!(e.starts_with("OT1004: client.url: ") && !e.contains("hunter2"), "{e}");
        }
    }
}
