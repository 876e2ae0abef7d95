//! The endpoints over a real socket.

use std::sync::{Arc, Mutex};

use admin::{AdminContext, Readiness};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use schemas::status::{StatusBoard, WorkerFacts, WorkerStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the listener is bound");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("request sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answer read");
    let status = answer[9..12].parse().expect("a status line");
    (status, answer.split_once("\r\n\r\n").expect("a head").1.to_owned())
}

#[tokio::test]
async fn every_endpoint_answers() {
    let status = StatusBoard::new(WorkerFacts { worker: "w1".into(), ..WorkerFacts::default() });
    status.source("shop", |s| s.rows = 7);
    let mut registry = Registry::default();
    registry.register("rows", "Rows", Counter::<u64>::default());
    let (readiness, ready) = watch::channel(Readiness::default());
    let context = AdminContext { status, metrics: Arc::new(Mutex::new(registry)), ready, coordination: None };
    let (listener, address) = admin::bind("127.0.0.1:0").await.expect("a free port");
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(admin::serve(listener, context, shutdown.clone()));

    assert_eq!(get(address, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(address, "/readyz").await, (503, "starting\n".to_owned()));
    readiness.send_replace(Readiness::Waiting("ZooKeeper".into()));
    assert_eq!(get(address, "/readyz").await, (503, "waiting: ZooKeeper\n".to_owned()));
    readiness.send_replace(Readiness::Ready);
    assert_eq!(get(address, "/readyz").await, (200, "ready\n".to_owned()));
    assert!(get(address, "/metrics").await.1.contains("rows_total 0"));
    let (code, body) = get(address, "/status").await;
    let board: WorkerStatus = serde_json::from_str(&body).expect("status is JSON");
    assert_eq!((code, board.worker.as_str(), board.sources[0].rows), (200, "w1", 7));
    assert_eq!(get(address, "/nothing").await.0, 404);

    shutdown.cancel();
    server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_listener, address) = admin::bind("127.0.0.1:0").await.expect("a free port");
    let e = admin::bind(&address.to_string()).await.expect_err("the port is taken");
    assert!(e.to_string().starts_with(&format!("OT1004: http.listen: {address} cannot be bound")), "{e}");
}
