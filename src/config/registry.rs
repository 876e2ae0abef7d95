//! `[registry]`: a schema registry of the site's to use instead of Otter's own.

use std::path::PathBuf;

use coordination::{Credentials, RegistryOptions};
use schemas::secret::SecretRef;
use schemas::{Code, Error, Result};
use serde::{Deserialize, Serialize};

/// The schema registry; Otter's own in ZooKeeper without a URL.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Registry {
    /// Root of a Confluent-compatible API, such as `https://registry:8081`. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    /// User of HTTP Basic. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Its password, `env:NAME` or `file:PATH`. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<SecretRef>,
    /// A bearer token instead, `env:NAME` or `file:PATH`. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<SecretRef>,
    /// A PEM file with the authorities that sign its certificate; the system's without it. Since 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

impl Registry {
    /// Refuses combinations that mean nothing.
    ///
    /// # Errors
    /// `OT1004` naming the key.
    pub(crate) fn validate(&self) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(Code::ConfigInvalid, what));
        if self.url.is_none() && (self.user.is_some() || self.token.is_some() || self.ca.is_some()) {
            return invalid("registry.url: it is missing, and the other keys of `registry` mean nothing without it");
        }
        if self.user.is_some() != self.password.is_some() {
            return invalid("registry.password: it goes with `registry.user`, neither without the other");
        }
        if self.user.is_some() && self.token.is_some() {
            return invalid("registry.token: either a token or user and password");
        }
        Ok(())
    }

    /// With its secrets; `None` when Otter's own registry is used.
    ///
    /// # Errors
    /// `OT1003` when a reference leads nowhere.
    pub(crate) fn resolve(&self) -> Result<Option<RegistryOptions>> {
        let Some(url) = self.url.clone() else { return Ok(None) };
        let credentials = match (&self.user, &self.password, &self.token) {
            (Some(user), Some(password), _) => {
                Some(Credentials::Basic { user: user.clone(), password: password.resolve()? })
            }
            (_, _, Some(token)) => Some(Credentials::Token(token.resolve()?)),
            _ => None,
        };
        Ok(Some(RegistryOptions { url, credentials, ca: self.ca.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Registry {
        toml::from_str(toml).expect("a section")
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        let message = |toml| read(toml).validate().expect_err("refused").message().to_owned();
        assert!(read("").validate().is_ok());
        assert!(read("url = 'http://r'").validate().is_ok());
        assert!(message("user = 'a'\npassword = 'env:P'").starts_with("registry.url: "));
        assert!(message("url = 'http://r'\nuser = 'a'").starts_with("registry.password: "));
        let both = "url = 'http://r'\nuser = 'a'\npassword = 'env:P'\ntoken = 'env:T'";
        assert!(message(both).starts_with("registry.token: "));
        assert!(toml::from_str::<Registry>("url = 'http://r'\ntoken = 'hunter2'").is_err());
    }

    #[test]
    fn secrets_are_resolved_and_never_printed() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "hunter2\n").expect("written");
        let path = file.path().display();
        let registry = read(&format!("url = 'http://r'\nuser = 'a'\npassword = 'file:{path}'"));
        let options = registry.resolve().expect("resolved").expect("external");
        assert!(!format!("{options:?}{registry:?}").contains("hunter2"));
        let Some(Credentials::Basic { user, password }) = options.credentials else { panic!("no credentials") };
        assert_eq!((user.as_str(), password.expose()), ("a", "hunter2"));
        let missing = read("url = 'http://r'\ntoken = 'file:/no/such'").resolve().expect_err("refused");
        assert_eq!(missing.code(), Code::SecretMissing);
    }
}
