//! `[client]`: how the command line reaches the admin API.

use schemas::secret::{Secret, SecretRef};
use schemas::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use super::Http;

/// The variable that holds the token when nothing else is configured.
const TOKEN_VARIABLE: &str = "OTTER_TOKEN";

/// How the command line reaches the admin API.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Client {
    /// Where the API is, such as `http://otter.example:8010`; by default `http.listen` on this machine. Since 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// The token, `env:NAME` or `file:PATH`; the variable `OTTER_TOKEN` by default. Since 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<SecretRef>,
}

impl Client {
    /// Where the API is.
    ///
    /// # Errors
    /// `OT1004` when it is not configured and cannot be told from `http.listen`.
    pub(super) fn url(&self, http: &Http) -> Result<String> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let listen = &http.listen;
        let unknown = || {
            let message = format!("client.url: it is not set, and http.listen ({listen}) does not tell the port");
            Error::new(Code::ConfigInvalid, message)
        };
        let (host, port) = listen.rsplit_once(':').filter(|(_, port)| *port != "0").ok_or_else(unknown)?;
        // Nobody can connect to "all interfaces".
        let host = match host {
            "0.0.0.0" | "" => "127.0.0.1",
            "[::]" => "[::1]",
            host => host,
        };
        Ok(format!("http://{host}:{port}"))
    }

    /// The token; `None` when none is configured.
    ///
    /// # Errors
    /// `OT1003` when the reference leads nowhere.
    pub(crate) fn token(&self) -> Result<Option<Secret>> {
        match &self.token {
            Some(reference) => reference.resolve().map(Some),
            None if std::env::var_os(TOKEN_VARIABLE).is_some_and(|v| !v.is_empty()) => {
                SecretRef::Env(TOKEN_VARIABLE.to_owned()).resolve().map(Some)
            }
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_follows_the_listener() {
        let url = |listen: &str| {
            let http = Http { listen: listen.to_owned(), ..Http::default() };
            Client::default().url(&http).map_err(|e| e.to_string())
        };
        assert_eq!(url("127.0.0.1:8010").as_deref(), Ok("http://127.0.0.1:8010"));
        assert_eq!(url("0.0.0.0:80").as_deref(), Ok("http://127.0.0.1:80"));
        assert_eq!(url("[::]:80").as_deref(), Ok("http://[::1]:80"));
        assert!(url("127.0.0.1:0").is_err_and(|e| e.starts_with("OT1004: client.url: ")));
        let set = Client { url: Some("https://x".into()), token: None };
        assert_eq!(set.url(&Http::default()).expect("a URL"), "https://x");
    }
}
