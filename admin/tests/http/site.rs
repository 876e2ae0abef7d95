//! A process with the admin role, its own nodes in ZooKeeper, and a token of each role.

use std::sync::{Arc, Mutex, PoisonError};

use admin::control::audit::AuditRecord;
use admin::control::tokens::mint;
use admin::tools::{Tools, Work};
use admin::{AdminContext, Readiness, Services};
use coordination::{Coordination, Options, RegistryOptions, Role, SchemaStore};
use prometheus_client::registry::Registry;
use reqwest::{Method, RequestBuilder, StatusCode};
use schemas::check::Finding;
use schemas::documents::{Pipeline, Source, Target};
use schemas::offsets::LaneOffset;
use schemas::status::{StatusBoard, WorkerFacts};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Stands in for the binary: checks find nothing wrong, records are kept.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Vec<AuditRecord>>);

impl Recorder {
    pub(crate) fn records(&self) -> Vec<AuditRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn fine<'a>(subject: String) -> Work<'a, Vec<Finding>> {
    Box::pin(async move { vec![Finding::ok(subject, "answers")] })
}

impl Tools for Recorder {
    fn check_source<'a>(&'a self, source: &'a Source) -> Work<'a, Vec<Finding>> {
        fine(format!("source {}", source.name))
    }

    fn check_target<'a>(&'a self, target: &'a Target) -> Work<'a, Vec<Finding>> {
        fine(format!("target {}", target.name))
    }

    fn check_pipeline<'a>(&'a self, p: &'a Pipeline, _: &'a Source, _: &'a Target) -> Work<'a, Vec<Finding>> {
        fine(format!("pipeline {}", p.name))
    }

    fn offsets<'a>(
        &'a self,
        _: SchemaStore,
        _: &'a Pipeline,
        _: &'a Source,
        _: &'a Target,
    ) -> Work<'a, schemas::Result<Vec<LaneOffset>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn check_site<'a>(&'a self, _: &'a Coordination, sources: Vec<Source>) -> Work<'a, Vec<Finding>> {
        fine(format!("kafka for {} sources", sources.len()))
    }

    fn standing<'a>(&'a self, _: &'a Target, _: &'a str) -> Work<'a, schemas::Result<u64>> {
        Box::pin(async { Ok(0) })
    }

    fn purge_pipeline<'a>(&'a self, target: &'a Target, pipeline: &'a str) -> Work<'a, schemas::Result<String>> {
        Box::pin(async move { Ok(format!("progress of {pipeline} at {}", target.name)) })
    }

    fn purge_source<'a>(&'a self, _: &'a Coordination, source: &'a str) -> Work<'a, schemas::Result<String>> {
        Box::pin(async move { Ok(format!("position of {source}")) })
    }

    fn audit(&self, record: AuditRecord) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

pub(crate) struct Site {
    pub(crate) base: String,
    pub(crate) options: Options,
    pub(crate) audit: Arc<Recorder>,
    pub(crate) client: reqwest::Client,
    pub(crate) viewer: String,
    pub(crate) operator: String,
    pub(crate) admin: String,
    pub(crate) services: Services,
    _end: DropGuard,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media: String,
    pub(crate) etag: Option<String>,
    pub(crate) challenges: Vec<String>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The code of a refusal, which must be a whole one.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.media, "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        for field in ["type", "title", "detail", "remedy"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {self:?}");
        }
        problem["code"].as_str().expect("a code").to_owned()
    }
}

impl Site {
    /// Serves, not connected to ZooKeeper yet.
    pub(crate) async fn serve() -> Self {
        let servers = std::env::var("OTTER_SERVERS_ZOOKEEPER")
            .expect("OTTER_SERVERS_ZOOKEEPER is not set: run the tests through ./deploy/test");
        let chroot = format!("/test-{:016x}/otter", rand::random::<u64>());
        let options = Options { chroot, ..Options::new(servers) };
        let status = StatusBoard::new(WorkerFacts { worker: "w1".into(), ..WorkerFacts::default() });
        let (_, ready) = watch::channel(Readiness::Ready);
        let mut context = AdminContext::new(status, Arc::new(Mutex::new(Registry::default())), ready);
        context.admin = true;
        let services = context.services.clone();
        let (listener, address) = admin::bind("127.0.0.1:0").await.expect("a free port");
        let shutdown = CancellationToken::new();
        tokio::spawn(admin::serve(listener, context, shutdown.clone()));
        Self {
            base: format!("http://{address}"),
            options,
            audit: Arc::default(),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            viewer: String::new(),
            operator: String::new(),
            admin: String::new(),
            services,
            _end: shutdown.drop_guard(),
        }
    }

    /// Serves, connected, with a token of each role.
    pub(crate) async fn new() -> Self {
        let mut site = Self::serve().await;
        let coordination = site.coordination(None).await;
        site.open(&coordination).await;
        site
    }

    /// Makes the tokens and lets the process know ZooKeeper.
    pub(crate) async fn open(&mut self, coordination: &Coordination) {
        let mut texts = Vec::new();
        for (name, role) in [("looks", Role::Viewer), ("works", Role::Operator), ("rules", Role::Admin)] {
            let (token, record) = mint(name, role, "the test");
            coordination.tokens().create(&record).await.expect("stored");
            texts.push(token.token);
        }
        [self.viewer, self.operator, self.admin] = texts.try_into().expect("three");
        let tools = Arc::clone(&self.audit);
        self.services.connect(coordination, tools).await.expect("ZooKeeper answers");
    }

    /// A connection to the same nodes.
    pub(crate) async fn coordination(&self, registry: Option<RegistryOptions>) -> Coordination {
        let options = Options { registry, ..self.options.clone() };
        Coordination::connect(&options, CancellationToken::new()).await.expect("ZooKeeper answers")
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request of the admin.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        send(self.request(method, path).bearer_auth(&self.admin)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    /// A request of the operator with a body.
    pub(crate) async fn write(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.request(method, path).bearer_auth(&self.operator).body(body.to_owned());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            let json = body.trim_start().starts_with(['{', '[']);
            request = request.header("Content-Type", if json { "application/json" } else { "application/yaml" });
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request).await
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an answer");
    let text = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let challenges = answer.headers().get_all("WWW-Authenticate").iter();
    let challenges = challenges.filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    let (status, media, etag) = (answer.status(), text("Content-Type").unwrap_or_default(), text("ETag"));
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{:?}", answer.text().await);
    let status = status.as_u16();
    Answer { status, media, etag, challenges, text: answer.text().await.expect("UTF-8") }
}

/// A source, a target and a pipeline between them.
pub(crate) const ALL: &str = "
kind: source
name: shop
addresses: ['db1:3306']
user: otter
password: env:SHOP_PASSWORD
---
kind: target
name: report
address: 'db2:3306'
user: otter
---
kind: pipeline
name: users
source: shop
target: report
mappings: [{from: shop.a, to: shop.b}]
";
