//! The endpoints of every role.

use std::sync::{Arc, Mutex};

use admin::{AdminContext, Readiness};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use reqwest::Method;
use schemas::status::{StatusBoard, WorkerFacts, WorkerStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::site::{Site, send};

/// Without the admin role.
async fn worker(open_metrics: bool) -> (Site, watch::Sender<Readiness>, CancellationToken) {
    let status = StatusBoard::new(WorkerFacts { worker: "w1".into(), ..WorkerFacts::default() });
    status.source("shop", |s| s.rows = 7);
    let mut registry = Registry::default();
    registry.register("rows", "Rows", Counter::<u64>::default());
    let (readiness, ready) = watch::channel(Readiness::default());
    let mut site = Site::new().await;
    let mut context = AdminContext::new(status, Arc::new(Mutex::new(registry)), ready);
    context.open_metrics = open_metrics;
    context.services = site.services.clone();
    let (listener, address) = admin::bind("127.0.0.1:0").await.expect("a free port");
    let shutdown = CancellationToken::new();
    tokio::spawn(admin::serve(listener, context, shutdown.clone()));
    site.base = format!("http://{address}");
    (site, readiness, shutdown)
}

#[tokio::test]
async fn every_endpoint_answers() {
    let (site, readiness, shutdown) = worker(false).await;
    let open = async |path: &str| {
        let answer = send(site.request(Method::GET, path)).await;
        (answer.status, answer.text)
    };
    assert_eq!(open("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(open("/readyz").await, (503, "not ready\n".to_owned()));
    readiness.send_replace(Readiness::Waiting("ZooKeeper".into()));
    assert_eq!(open("/readyz").await, (503, "not ready\n".to_owned()), "no detail");
    readiness.send_replace(Readiness::Ready);
    assert_eq!(open("/readyz").await, (200, "ready\n".to_owned()));
    for path in ["/metrics", "/status", "/api/v1/documents", "/nothing"] {
        assert_eq!(open(path).await.0, 401, "{path}");
    }
    assert!(site.get("/metrics").await.text.contains("rows_total 0"));
    let board: WorkerStatus = serde_json::from_value(site.get("/status").await.json()).expect("a status");
    assert_eq!((board.worker.as_str(), board.sources[0].rows), ("w1", 7));
    for path in ["/nothing", "/api/v1/documents", "/registry/subjects"] {
        let answer = site.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "OT1025"), "only the admin role has {path}");
    }
    let answer = send(site.request(Method::POST, "/healthz")).await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "OT1024"));
    shutdown.cancel();
}

#[tokio::test]
async fn metrics_may_be_opened() {
    let (site, _, _) = worker(true).await;
    assert!(send(site.request(Method::GET, "/metrics")).await.text.contains("rows_total 0"));
    assert_eq!(send(site.request(Method::GET, "/status")).await.status, 401, "the status holds keys of rows");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let (_listener, address) = admin::bind("127.0.0.1:0").await.expect("a free port");
    let e = admin::bind(&address.to_string()).await.expect_err("the port is taken");
    assert!(e.to_string().starts_with(&format!("OT1004: http.listen: {address} cannot be bound")), "{e}");
}
