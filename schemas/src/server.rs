//! From a source or target document to the options of connections, to be tried in order.
//!
//! The list holds, for each address, what the document's TLS mode allows: `preferred` gives TLS without verification
//! and then plain; every other mode gives one entry. Passwords are resolved here, each time, so that a changed secret
//! counts from the next connection on.

use mysql_async::{Opts, OptsBuilder, SslOpts};

use crate::codes::Code;
use crate::documents::{Address, Source, Target, Tls, TlsMode};
use crate::error::{Error, Result};
use crate::secret::SecretRef;

/// Longest password in bytes: without TLS, MySQL's caching_sha2_password takes no more under a key of 2,048 bits, and the
/// client library panics.
const MAX_PASSWORD: usize = 213;

/// What it takes to connect to a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerAccess<'a> {
    /// The addresses, in order of preference.
    pub addresses: &'a [Address],
    /// The user.
    pub user: &'a str,
    /// Where the password is; `None`: without one.
    pub password: Option<&'a SecretRef>,
    /// Encryption.
    pub tls: &'a Tls,
}

impl<'a> From<&'a Source> for ServerAccess<'a> {
    fn from(source: &'a Source) -> Self {
        Self { addresses: &source.addresses, user: &source.user, password: source.password.as_ref(), tls: &source.tls }
    }
}

impl<'a> From<&'a Target> for ServerAccess<'a> {
    fn from(target: &'a Target) -> Self {
        Self {
            addresses: std::slice::from_ref(&target.address),
            user: &target.user,
            password: target.password.as_ref(),
            tls: &target.tls,
        }
    }
}

impl ServerAccess<'_> {
    /// The options to try, in this order. All count found rows, not changed rows (CLIENT_FOUND_ROWS).
    ///
    /// # Errors
    /// `OT1003` when the password's reference leads nowhere, `OT1004` when the password is too long to be sent.
    pub fn options(&self) -> Result<Vec<Opts>> {
        let password = self.password.map(SecretRef::resolve).transpose()?;
        if password.as_ref().is_some_and(|p| p.expose().len() > MAX_PASSWORD) {
            let message = format!("the password of {} has more than {MAX_PASSWORD} bytes", self.user);
            return Err(Error::new(Code::ConfigInvalid, message));
        }
        let mut options = Vec::new();
        for address in self.addresses {
            let base = OptsBuilder::default()
                .ip_or_hostname(address.host())
                .tcp_port(address.port())
                .user(Some(self.user))
                .pass(password.as_ref().map(|p| p.expose()))
                // A socket that the server names would silently replace the address of the document.
                .prefer_socket(false)
                .client_found_rows(true);
            options.extend(self.encryption().into_iter().map(|ssl| Opts::from(base.clone().ssl_opts(ssl))));
        }
        Ok(options)
    }

    fn encryption(&self) -> Vec<Option<SslOpts>> {
        let unverified =
            || SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
        let verified = || {
            let roots = self.tls.ca.iter().map(|path| path.clone().into()).collect::<Vec<_>>();
            let own = !roots.is_empty();
            SslOpts::default().with_root_certs(roots).with_disable_built_in_roots(own)
        };
        match self.tls.mode {
            TlsMode::Disabled => vec![None],
            TlsMode::Preferred => vec![Some(unverified()), None],
            TlsMode::Required => vec![Some(unverified())],
            TlsMode::VerifyCa => vec![Some(verified().with_danger_skip_domain_validation(true))],
            TlsMode::VerifyIdentity => vec![Some(verified())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mode: TlsMode) -> Vec<Opts> {
        let addresses = ["db1:3306".parse().unwrap(), "[::1]:3307".parse().unwrap()];
        let tls = Tls { mode, ca: None };
        ServerAccess { addresses: &addresses, user: "otter", password: None, tls: &tls }.options().unwrap()
    }

    #[test]
    fn preferred_tries_tls_then_plain_at_each_address() {
        let tried: Vec<_> = options(TlsMode::Preferred)
            .iter()
            .map(|o| (o.ip_or_hostname().to_owned(), o.tcp_port(), o.ssl_opts().is_some()))
            .collect();
        let expected = [("db1", 3306, true), ("db1", 3306, false), ("::1", 3307, true), ("::1", 3307, false)];
        assert_eq!(tried, expected.map(|(host, port, tls)| (host.to_owned(), port, tls)));
    }

    #[test]
    fn verification_is_as_asked() {
        let ssl = |mode| options(mode)[0].ssl_opts().cloned();
        assert!(ssl(TlsMode::Disabled).is_none());
        assert!(ssl(TlsMode::Required).unwrap().accept_invalid_certs());
        let ca = ssl(TlsMode::VerifyCa).unwrap();
        assert!(!ca.accept_invalid_certs() && ca.skip_domain_validation());
        let identity = ssl(TlsMode::VerifyIdentity).unwrap();
        assert!(!identity.accept_invalid_certs() && !identity.skip_domain_validation());
        assert!(options(TlsMode::Disabled).iter().all(|o| o.client_found_rows() && !o.prefer_socket()));
    }

    #[test]
    fn a_password_that_cannot_be_sent_is_refused_without_its_text() {
        let file = std::env::temp_dir().join(format!("otter-password-{}", std::process::id()));
        std::fs::write(&file, "x".repeat(MAX_PASSWORD + 1)).unwrap();
        let (addresses, password) = (["db1:3306".parse().unwrap()], SecretRef::File(file.clone()));
        let access =
            ServerAccess { addresses: &addresses, user: "otter", password: Some(&password), tls: &Tls::default() };
        let refused = access.options().unwrap_err();
        assert!(refused.code().id() == "OT1004" && !refused.message().contains("xxx"), "{refused}");
        std::fs::write(&file, "x".repeat(MAX_PASSWORD)).unwrap();
        assert!(access.options().is_ok());
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_missing_password_is_named() {
        let addresses = ["db1:3306".parse().unwrap()];
        let password = SecretRef::Env("OTTER_NO_SUCH_VARIABLE".into());
        let access =
            ServerAccess { addresses: &addresses, user: "otter", password: Some(&password), tls: &Tls::default() };
        assert_eq!(access.options().unwrap_err().code().id(), "OT1003");
    }
}
