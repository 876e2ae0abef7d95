//! A registry that the site has already, over Confluent's REST API: Confluent's own, Karapace, Apicurio's ccompat API, or
//! another Otter's.
//!
//! Registering is idempotent there, so a request whose answer was lost is simply made again. Failures are told apart by
//! whether trying again can help: no connection, no answer in time, 429 and 5xx can (`OT4014`), everything else cannot.
//! Before a subject's first registration by this process its compatibility is set to NONE, since the ALTER has already
//! happened at the source and refusing its schema would only stop the table; a registry that does not allow that is
//! left as it is, and its later 409 says what to do (`OT4013`).

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use schemas::secret::Secret;
use schemas::{Code, Error, Result};
use serde::Deserialize;
use serde_json::json;
use tracing::{info, warn};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// The largest answer that is read, in bytes: a schema of the widest table is below 1 MB.
const MAX_ANSWER: usize = 16 << 20;
/// How much of a registry's own message is repeated, in characters.
const MAX_MESSAGE: usize = 500;

/// An external registry, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryOptions {
    /// Root of its Confluent-compatible API, such as `https://registry:8081` or `http://apicurio:8080/apis/ccompat/v7`.
    pub url: String,
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// A PEM file with the authorities that sign its certificate; those of the system when it is not given.
    pub ca: Option<PathBuf>,
}

/// How Otter proves who it is to an external registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// HTTP Basic.
    Basic {
        /// User name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A bearer token.
    Token(Secret),
}

/// The client.
#[derive(Debug)]
pub(crate) struct External {
    client: reqwest::Client,
    url: Url,
    credentials: Option<Credentials>,
    /// Subjects whose compatibility has been seen to.
    prepared: Mutex<HashSet<String>>,
}

#[derive(Deserialize)]
struct IdAnswer {
    id: u32,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
    #[serde(rename = "schemaType")]
    schema_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error_code: u32,
    message: String,
}

/// An answer with its body.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl External {
    /// The client of a registry; `timeout` bounds each request.
    ///
    /// # Errors
    /// `OT1004` naming the key of `[registry]` that cannot work.
    pub(crate) fn new(options: &RegistryOptions, timeout: Duration) -> Result<Self> {
        let invalid = |what: String| Error::new(Code::ConfigInvalid, what);
        // The text is not repeated: somebody may have written a password into it.
        let url: Url = options.url.parse().map_err(|e| invalid(format!("registry.url: this is not a URL: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(invalid("registry.url: it begins with neither http:// nor https://".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let message =
                "registry.url: it holds a user or password; `registry.user` and `registry.password` are for that";
            return Err(invalid(message.to_owned()));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT.min(timeout))
            .timeout(timeout)
            // Credentials go where the operator said, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("otter/", env!("CARGO_PKG_VERSION")));
        if let Some(ca) = &options.ca {
            let unusable = |why: String| invalid(format!("registry.ca: {}: {why}", ca.display()));
            let pem = std::fs::read(ca).map_err(|e| unusable(e.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| unusable(e.to_string()))?;
            if certificates.is_empty() {
                return Err(unusable("there is no certificate in it".to_owned()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = builder.build().map_err(|e| invalid(format!("registry: {e}")))?;
        Ok(Self { client, url, credentials: options.credentials.clone(), prepared: Mutex::default() })
    }

    /// Registers a schema and returns its id.
    ///
    /// # Errors
    /// `OT4013` on a conflict, `OT4014` when asking again may help, `OT4015` otherwise.
    pub(crate) async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let set = self.prepare(subject).await?;
        let body = json!({ "schema": schema });
        let answer = self.send(Method::POST, &["subjects", subject, "versions"], Some(&body)).await?;
        if answer.status == StatusCode::CONFLICT {
            let message = format!("{subject}: {}; its compatibility there must be NONE", self.refusal(&answer));
            return Err(Error::new(Code::SchemaIncompatible, message));
        }
        let id = self.read::<IdAnswer>(&format!("registering a schema of {subject}"), &answer)?.id;
        if !set {
            // There was no such subject to configure before.
            self.allow_all(subject).await?;
            self.prepared.lock().insert(subject.to_owned());
        }
        Ok(id)
    }

    /// The schema of an id.
    ///
    /// # Errors
    /// `OT4005` when there is no such id, `OT4014` when asking again may help, `OT4015` otherwise.
    pub(crate) async fn schema(&self, id: u32) -> Result<String> {
        let answer = self.send(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        // A 404 that does not come from a registry is a wrong URL.
        if answer.status == StatusCode::NOT_FOUND && serde_json::from_slice::<Refusal>(&answer.body).is_ok() {
            let message = format!("{} has no schema with id {id}: {}", self.url, self.refusal(&answer));
            return Err(Error::new(Code::SchemaUnknown, message));
        }
        let found: SchemaAnswer = self.read(&format!("schema {id}"), &answer)?;
        match found.schema_type.as_deref() {
            None | Some("AVRO") => Ok(found.schema),
            Some(other) => {
                Err(Error::new(Code::RecordInvalid, format!("schema {id} at {} is {other}, not Avro", self.url)))
            }
        }
    }

    /// The newest schema of a subject; `None` when nothing is registered under it.
    ///
    /// # Errors
    /// `OT4014` when asking again may help, `OT4015` otherwise.
    pub(crate) async fn newest(&self, subject: &str) -> Result<Option<String>> {
        let answer = self.send(Method::GET, &["subjects", subject, "versions", "latest"], None).await?;
        if answer.status == StatusCode::NOT_FOUND && serde_json::from_slice::<Refusal>(&answer.body).is_ok() {
            return Ok(None);
        }
        self.read::<SchemaAnswer>(subject, &answer).map(|found| Some(found.schema))
    }

    /// Sees to the compatibility of a subject, once; `false`: the registry wants the subject to be there first.
    async fn prepare(&self, subject: &str) -> Result<bool> {
        if self.prepared.lock().contains(subject) {
            return Ok(true);
        }
        let done = self.allow_all(subject).await?;
        if done {
            self.prepared.lock().insert(subject.to_owned());
        }
        Ok(done)
    }

    /// Sets a subject's compatibility to NONE; `false` when there is no such subject. A refusal is reported and left so.
    async fn allow_all(&self, subject: &str) -> Result<bool> {
        let body = json!({ "compatibility": "NONE" });
        let answer = self.send(Method::PUT, &["config", subject], Some(&body)).await?;
        match answer.status {
            status if status.is_success() => info!(subject, "the subject's compatibility is NONE"),
            StatusCode::NOT_FOUND => return Ok(false),
            _ => warn!(subject, answer = self.refusal(&answer), "the subject's compatibility stays as it is"),
        }
        Ok(true)
    }

    async fn send(&self, method: Method, path: &[&str], body: Option<&serde_json::Value>) -> Result<Answer> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.authorised(self.client.request(method, url));
        request = request.header("Accept", "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(body) = body {
            request = request.json(body).header("Content-Type", "application/vnd.schemaregistry.v1+json");
        }
        let unavailable = |e: reqwest::Error| {
            let e = e.without_url();
            let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new(Code::RegistryUnavailable, format!("{}: {e}{cause}", self.url)).with_source(e)
        };
        let mut response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let mut answer = Answer { status, body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if answer.body.len() + chunk.len() > MAX_ANSWER {
                let message = format!("{} answers with more than {MAX_ANSWER} bytes", self.url);
                return Err(Error::new(Code::RegistryRefused, message));
            }
            answer.body.extend_from_slice(&chunk);
        }
        if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        {
            return Err(Error::new(Code::RegistryUnavailable, self.refusal(&answer)));
        }
        Ok(answer)
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            None => request,
            Some(Credentials::Basic { user, password }) => request.basic_auth(user, Some(password.expose())),
            Some(Credentials::Token(token)) => request.bearer_auth(token.expose()),
        }
    }

    fn read<'a, T: Deserialize<'a>>(&self, what: &str, answer: &'a Answer) -> Result<T> {
        if !answer.status.is_success() {
            return Err(Error::new(Code::RegistryRefused, format!("{what}: {}", self.refusal(answer))));
        }
        serde_json::from_slice(&answer.body).map_err(|e| {
            let message = format!("{what}: {} does not answer as a schema registry does: {e}", self.url);
            Error::new(Code::RegistryRefused, message).with_source(e)
        })
    }

    /// The registry's own words.
    fn refusal(&self, answer: &Answer) -> String {
        let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
        let words: String = refusal.message.chars().take(MAX_MESSAGE).collect();
        let code = if refusal.error_code == 0 { String::new() } else { format!(", error_code {}", refusal.error_code) };
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        format!("{} answers {}{code}{words}", self.url, answer.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_work_are_refused_without_repeating_them() {
        let new = |url: &str| {
            let options = RegistryOptions { url: url.to_owned(), credentials: None, ca: None };
            External::new(&options, Duration::from_secs(1)).map(|_| ()).map_err(|e| e.to_string())
        };
        assert_eq!(new("http://registry:8081/apis/ccompat/v7"), Ok(()));
        for url in ["registry:8081", "", "ftp://registry", "http://me:hunter2@registry"] {
            let e = new(url).expect_err("refused");
            assert!(e.starts_with("OT1004: registry.url: ") && !e.contains("hunter2"), "{e}");
        }
        let options =
            RegistryOptions { url: "https://registry".to_owned(), credentials: None, ca: Some("/no/such.pem".into()) };
        let e = External::new(&options, Duration::from_secs(1)).map(|_| ()).expect_err("refused").to_string();
        assert!(e.starts_with("OT1004: registry.ca: /no/such.pem: "), "{e}");
    }
}
