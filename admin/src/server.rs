//! The listener: one task a connection, bounded in number and in how long a client may dawdle.
//!
//! A client that does not send a whole head within [`HEAD`] (which also ends idle connections) is dropped, so that
//! nobody can hold connections by doing nothing; bodies are bounded where they are read. At the end open requests are
//! waited for, but no longer than [`DRAIN`]: nobody outside may keep the process from ending.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

/// How many connections there are at once; others wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// How long the head of a request may take to arrive, from the end of the one before.
const HEAD: Duration = Duration::from_secs(10);
/// How long open requests may take once the process is to end.
const DRAIN: Duration = Duration::from_secs(5);
/// Between two attempts to accept while the process has no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// Answers requests until `shutdown`, then finishes the open ones.
pub(crate) async fn run(listener: TcpListener, router: Router, shutdown: &CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        while let Some(ended) = connections.try_join_next() {
            log_end(ended);
        }
        match accepted {
            Some((stream, from, slot)) => {
                connections.spawn(serve(stream, from, router.clone(), shutdown.clone(), slot));
            }
            None => tokio::time::sleep(PAUSE).await,
        }
    }
    drop(listener);
    let drained = tokio::time::timeout(DRAIN, async {
        while let Some(ended) = connections.join_next().await {
            log_end(ended);
        }
    });
    if drained.await.is_err() {
        warn!(connections = connections.len(), "HTTP requests were broken off at the end of the process");
        connections.shutdown().await;
    }
}

/// The next connection with its slot; `None` when the process cannot take one now.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // Never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return Some((stream, from, slot)),
            // The client's, before it was accepted.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(e) => {
                error!(error = %e, "no HTTP connection can be accepted; trying again");
                return None;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    from: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
) {
    let service = service_fn(move |request| answer(router.clone(), from, request));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        debug!(address = %from, error = %e, "an HTTP connection broke off");
    }
}

/// Carries out one request.
///
/// A change goes on when its client is gone: broken off between the write and its record, it would be missing in the
/// audit trail.
async fn answer(router: Router, from: SocketAddr, mut request: Request<Incoming>) -> Result<Response, JoinError> {
    request.extensions_mut().insert(ConnectInfo(from));
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let work = router.oneshot(request);
    let Ok(answer) = if only_looks { work.await } else { tokio::spawn(work).await? };
    Ok(answer)
}

fn log_end(ended: Result<(), JoinError>) {
    if let Err(e) = ended {
        error!(error = %e, "an HTTP connection's task broke off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    /// What no wait may exceed.
    const BOUND: Duration = Duration::from_secs(60);

    async fn served(router: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        (address, shutdown, tokio::spawn(async move { run(listener, router, &token).await }))
    }

    async fn sent(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(text.as_bytes()).await.expect("written");
        stream
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(BOUND, stream.read_to_end(&mut text)).await.expect("an end");
        // A reset is an end as well.
        drop(read);
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn who_dawdles_is_dropped_and_others_are_served() {
        let (address, _shutdown, _task) = served(Router::new().route("/", get(async || "here"))).await;
        let silent = sent(address, "").await;
        let slow = sent(address, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        let served = sent(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(rest(served).await.ends_with("here"));
        let (silent, slow) = tokio::join!(rest(silent), rest(slow));
        assert!(!silent.contains("200") && !slow.contains("200"), "{silent} {slow}");
    }

    #[tokio::test]
    async fn nobody_keeps_the_process_from_ending() {
        let router = Router::new().route("/", post(async |body: String| body));
        let (address, shutdown, task) = served(router).await;
        let _slow = sent(address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").await;
        let _half = sent(address, "POST / HT").await;
        let start = Instant::now();
        shutdown.cancel();
        tokio::time::timeout(BOUND, task).await.expect("an end").expect("no panic");
        assert!(start.elapsed() < DRAIN * 4, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_change_goes_on_without_its_client() {
        let (begun, go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (in_begun, in_go, in_done) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&done));
        let change = move || {
            let (begun, go, done) = (Arc::clone(&in_begun), Arc::clone(&in_go), Arc::clone(&in_done));
            async move {
                begun.notify_one();
                go.notified().await;
                done.notify_one();
            }
        };
        let (address, _shutdown, _task) = served(Router::new().route("/", post(change))).await;
        let client = sent(address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        begun.notified().await;
        drop(client);
        // The server has noticed: it answers the next one on the same thread afterwards.
        let other = sent(address, "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(rest(other).await.starts_with("HTTP/1.1 404"));
        go.notify_one();
        tokio::time::timeout(BOUND, done.notified()).await.expect("it was carried out");
    }
}
