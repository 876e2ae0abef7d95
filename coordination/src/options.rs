//! Where ZooKeeper is and how long to wait for it.

use std::time::Duration;

use schemas::{Code, Error, Result};

use crate::registry::RegistryOptions;

/// How to reach ZooKeeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port` of the ensemble's servers, separated by commas, without a chroot.
    pub servers: String,
    /// The node under which everything of this installation lives, such as `/otter`; made when it is missing.
    pub chroot: String,
    /// After this long without a word from the client the server ends the session: leases and worker nodes go, and
    /// another worker takes over. The server may round it into its own limits (2 to 20 ticks).
    pub session_timeout: Duration,
    /// The bound of every call, waiting for a connection included.
    pub request_timeout: Duration,
    /// A schema registry to use instead of Otter's own.
    pub registry: Option<RegistryOptions>,
}

impl Options {
    /// The chroot when none is configured.
    pub const DEFAULT_CHROOT: &str = "/otter";
    /// The session timeout when none is configured: with the server's rounding a dead leader is replaced in under 10 s.
    pub const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(4);
    /// The request timeout when none is configured: longer than a session, so that a change of ZooKeeper's leader
    /// passes unnoticed.
    pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(8);

    /// The defaults for some servers.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            chroot: Self::DEFAULT_CHROOT.to_owned(),
            session_timeout: Self::DEFAULT_SESSION_TIMEOUT,
            request_timeout: Self::DEFAULT_REQUEST_TIMEOUT,
            registry: None,
        }
    }

    /// Refuses what no ZooKeeper could answer to.
    ///
    /// # Errors
    /// `OT1004` naming the setting.
    pub fn validate(&self) -> Result<()> {
        let invalid = |what: String| Err(Error::new(Code::ConfigInvalid, what));
        if self.servers.trim().is_empty() || self.servers.split(',').any(|server| server.trim().is_empty()) {
            return invalid(format!("zookeeper.servers: {:?} is not a list of host:port", self.servers));
        }
        if self.servers.contains('/') {
            return invalid(format!(
                "zookeeper.servers: {:?} holds a path; the chroot has a setting of its own",
                self.servers
            ));
        }
        let parts: Vec<&str> = self.chroot.split('/').collect();
        let good = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains(char::is_control);
        if parts.len() < 2 || !parts[0].is_empty() || !parts[1..].iter().all(good) {
            return invalid(format!("zookeeper.chroot: {:?} is not a path such as /otter", self.chroot));
        }
        if self.session_timeout < Duration::from_secs(1) || self.session_timeout > Duration::from_secs(300) {
            return invalid(format!(
                "zookeeper.session_timeout: {:?} is not between 1 s and 5 min",
                self.session_timeout
            ));
        }
        if self.request_timeout.is_zero() {
            return invalid("zookeeper.request_timeout: must be more than 0".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let message = |options: Options| options.validate().expect_err("refused").message().to_owned();
        assert!(Options::new("a:2181,b:2181").validate().is_ok());
        assert!(message(Options::new("")).starts_with("zookeeper.servers"));
        assert!(message(Options::new("a:2181,,b:2181")).starts_with("zookeeper.servers"));
        assert!(message(Options::new("a:2181/otter")).starts_with("zookeeper.servers"));
        for chroot in ["", "/", "otter", "/otter/", "/a//b", "/a/../b"] {
            let options = Options { chroot: chroot.to_owned(), ..Options::new("a:1") };
            assert!(message(options).starts_with("zookeeper.chroot"), "{chroot}");
        }
        let options = Options { session_timeout: Duration::from_millis(10), ..Options::new("a:1") };
        assert!(message(options).starts_with("zookeeper.session_timeout"));
    }
}
