//! HTTP GET of another worker's endpoint, over plain HTTP within the site.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A worker that is there answers from memory; one that does not is not waited for.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer: a status with thousands of lanes is a few megabytes.
const MAX_BODY: usize = 32 << 20;

/// The body of a 200 answer, or why there is none.
pub(crate) async fn get(address: &str, path: &str) -> Result<Bytes, String> {
    match tokio::time::timeout(TIMEOUT, exchange(address, path)).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn exchange(address: &str, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect(address).await.map_err(text)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::get(path).header(HOST, address).body(Empty::<Bytes>::new()).map_err(text)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        if answer.status() != hyper::StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        Ok(Limited::new(answer.into_body(), MAX_BODY).collect().await.map_err(text)?.to_bytes())
    };
    tokio::pin!(answer);
    // The connection moves the bytes; both are driven here, so that nothing outlives this call.
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(e) => Err(text(e)),
        }
    }
}

fn text(e: impl Display) -> String {
    e.to_string()
}
