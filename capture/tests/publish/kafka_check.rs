//! What `otter check` asks of Kafka, on a real broker.

use capture::Options;
use capture::check::check_kafka;
use schemas::check::Level;
use schemas::documents::{Document, Interval, Source};
use schemas::kafka::KafkaOptions;

use crate::site::server;

fn source(topics: &str) -> Source {
    let text = format!("kind: source\nname: shop\naddresses: ['db1:3306']\nuser: otter\ntopics: {topics}\n");
    match Document::parse_all(&text).expect("a document").remove(0) {
        Document::Source(source) => source,
        other => panic!("{other}"),
    }
}

fn broker(address: String) -> KafkaOptions {
    KafkaOptions { brokers: address, client: Default::default() }
}

#[tokio::test]
async fn a_broker_that_allows_everything_is_fine_and_nothing_is_left_on_it() {
    let kafka = broker(server("OTTER_SERVERS_KAFKA"));
    let cluster = format!("check{:x}", std::process::id());
    let found = check_kafka(&cluster, &kafka, &Options::default(), &[source("{}")]).await;
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|f| f.level == Level::Ok), "{found:?}");
    let admin: rdkafka::admin::AdminClient<_> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().expect("a client");
    let metadata = admin.inner().fetch_metadata(None, std::time::Duration::from_secs(10)).expect("metadata");
    let ours = |name: &str| name.contains(&cluster) || name.contains("_check");
    assert!(metadata.topics().iter().all(|t| !ours(t.name())), "a topic was made");
}

#[tokio::test]
async fn what_the_brokers_refuse_is_named() {
    let kafka = broker(server("OTTER_SERVERS_KAFKA"));
    let options = Options { oversize_timeout: Interval::from_secs(3600), ..Options::default() };
    let found = check_kafka("check", &kafka, &options, &[source("{replication: 7}")]).await;
    let codes: Vec<_> = found.iter().map(|f| f.code.as_deref()).collect();
    assert_eq!(codes, [None, Some("OT4007"), None, Some("OT4003")], "{found:?}");
}

#[tokio::test]
async fn a_broker_that_is_away_is_one_finding() {
    let found = check_kafka("check", &broker("127.0.0.1:1".into()), &Options::default(), &[source("{}")]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code.as_deref(), Some("OT4001"), "{found:?}");
}

#[tokio::test]
async fn missing_rights_are_named() {
    let login = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "stranger"),
        ("sasl.password", "hidden"),
    ];
    let client = login.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let kafka = KafkaOptions { brokers: server("OTTER_SERVERS_KAFKA_SASL"), client };
    let found = check_kafka("check", &kafka, &Options::default(), &[source("{}")]).await;
    let denied: Vec<_> = found.iter().filter(|f| f.code.as_deref() == Some("OT4009")).collect();
    assert_eq!((found.len(), denied.len()), (4, 3), "{found:?}");
    for (finding, right) in denied.iter().zip(["otter.check.", "otter.check.", "shop._check._check"]) {
        assert!(finding.message.contains(right) && !finding.message.contains("hidden"), "{finding:?}");
    }
}
