//! Where the server is, connections to it, and waiting.

use std::fmt::Debug;
use std::time::Duration;

use coordination::{Coordination, Options};
use schemas::documents::Document;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::proxy::Proxy;

/// Longer than anything a test waits for on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Sessions that are to end, so that expiry does not take long.
const BRIEF: Duration = Duration::from_secs(1);
/// Sessions that are not to end whatever else the machine has to do.
const LASTING: Duration = Duration::from_secs(10);

/// A chroot that no other test uses.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) servers: String,
    chroot: String,
}

impl Site {
    pub(crate) fn new() -> Self {
        let servers = std::env::var("OTTER_SERVERS_ZOOKEEPER")
            .expect("OTTER_SERVERS_ZOOKEEPER is not set: run the tests through ./deploy/test");
        Self::at(servers)
    }

    /// On a server of the test's own.
    pub(crate) fn at(servers: String) -> Self {
        Self { servers, chroot: format!("/test-{:016x}/otter", rand::random::<u64>()) }
    }

    fn options(&self, servers: &str) -> Options {
        Options {
            chroot: self.chroot.clone(),
            session_timeout: LASTING,
            request_timeout: LIMIT,
            ..Options::new(servers)
        }
    }

    /// A connection of its own, straight to the server.
    pub(crate) async fn connect(&self) -> Coordination {
        connect(&self.options(&self.servers)).await
    }

    /// One whose session ends soon when the server is away.
    pub(crate) async fn connect_briefly(&self) -> Coordination {
        connect(&Options { session_timeout: BRIEF, ..self.options(&self.servers) }).await
    }

    /// A connection through a proxy, whose session ends soon when it is cut.
    pub(crate) async fn connect_through(&self) -> (Coordination, Proxy) {
        let proxy = Proxy::start(&self.servers).await;
        (connect(&Options { session_timeout: BRIEF, ..self.options(&proxy.address) }).await, proxy)
    }

    /// A connection through a proxy whose session outlives every cut of a test.
    pub(crate) async fn connect_patient(&self) -> (Coordination, Proxy) {
        let proxy = Proxy::start(&self.servers).await;
        (connect(&self.options(&proxy.address)).await, proxy)
    }

    /// A connection through a proxy whose calls give up early.
    pub(crate) async fn connect_impatient(&self, request_timeout: Duration) -> (Coordination, Proxy) {
        let proxy = Proxy::start(&self.servers).await;
        let options = Options { request_timeout, ..self.options(&proxy.address) };
        (connect(&options).await, proxy)
    }

    /// The plain client, rooted at the test's chroot, to look and to spoil.
    pub(crate) async fn plain(&self) -> zookeeper::Client {
        let client = zookeeper::Client::connect(&self.servers).await.expect("ZooKeeper answers");
        client.chroot(self.chroot.as_str()).expect("a path")
    }
}

async fn connect(options: &Options) -> Coordination {
    Coordination::connect(options, CancellationToken::new()).await.expect("ZooKeeper answers")
}

/// Waits until what a receiver holds is as wanted; reports what it held last.
pub(crate) async fn until<T: Clone + Debug>(
    receiver: &mut watch::Receiver<T>,
    what: &str,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let found = tokio::time::timeout(LIMIT, receiver.wait_for(|value| wanted(value))).await;
    match found.map(|result| result.map(|value| value.clone())) {
        Ok(Ok(value)) => value,
        Ok(Err(_)) => panic!("waited for {what}; nobody writes any more; last seen: {:?}", *receiver.borrow()),
        Err(_) => panic!("waited for {what}; last seen: {:?}", *receiver.borrow()),
    }
}

/// Asks again and again until the answer is as wanted; reports the last answer.
pub(crate) async fn eventually<T: Debug>(
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let start = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(start.elapsed() < LIMIT, "waited for {what}; last seen: {seen:?}");
    }
}

/// A source document.
pub(crate) fn source(name: &str, prefix: &str) -> Document {
    let text = format!(
        "kind: source\nname: {name}\naddresses: ['db1:3306']\nuser: otter\npassword: env:SHOP\ntopics: {{prefix: {prefix}}}\n"
    );
    Document::parse_all(&text).expect("valid").remove(0)
}
