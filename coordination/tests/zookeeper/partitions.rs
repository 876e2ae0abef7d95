//! What is frozen of topics: the first one decides, whoever is cut off, and a repartition ends as a whole.

use coordination::{FrozenTopic, Growth};
use schemas::Code;
use tokio_util::sync::CancellationToken;

use super::proxy::Link;
use super::site::{Site, eventually};

const TOPIC: &str = "shop.shop.orders";

fn of(partitions: u32) -> FrozenTopic {
    FrozenTopic::new(partitions, "A")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_freeze_a_topic_the_first_decides_for_both() {
    let site = Site::new();
    let (one, two) = (site.connect().await, site.connect().await);
    for round in 0..20 {
        let topic = format!("{TOPIC}{round}");
        let (four, eight) = (of(4), of(8));
        let (a, b) = tokio::join!(one.freeze_topic("shop", &topic, &four), two.freeze_topic("shop", &topic, &eight));
        let (a, b) = (a.expect("frozen"), b.expect("frozen"));
        assert_eq!(a, b);
        assert_eq!(one.frozen_topic("shop", &topic).await.expect("an answer"), Some(a));
    }
    assert_eq!(one.frozen_topic("other", TOPIC).await.expect("an answer"), None);
}

/// A node of a version without ids gets the one that is found first, and keeps its count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_frozen_without_an_id_is_completed_once() {
    let site = Site::new();
    let (one, two) = (site.connect().await, site.connect().await);
    let old = FrozenTopic { id: None, ..of(4) };
    one.freeze_topic("shop", TOPIC, &old).await.expect("frozen");
    assert_eq!(two.frozen_topic("shop", TOPIC).await.expect("an answer"), Some(old));
    let (a, b) = (FrozenTopic::new(8, "A"), FrozenTopic::new(8, "B"));
    let (a, b) = tokio::join!(one.freeze_topic("shop", TOPIC, &a), two.freeze_topic("shop", TOPIC, &b));
    let (a, b) = (a.expect("completed"), b.expect("completed"));
    assert_eq!((&a, a.partitions), (&b, 4));
    assert_eq!(one.frozen_topic("shop", TOPIC).await.expect("an answer"), Some(a));
}

/// The answer is lost and the session ends: asked again, it says what the first attempt has frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_freezes_once() {
    let site = Site::new();
    let (one, proxy) = site.connect_through().await;
    let two = site.connect().await;
    two.freeze_topic("shop", "shop.shop.other", &of(1)).await.expect("frozen");
    proxy.set(Link::Deaf);
    let freezing = tokio::spawn({
        let one = one.clone();
        async move { one.freeze_topic("shop", TOPIC, &of(4)).await }
    });
    let frozen = async || two.frozen_topic("shop", TOPIC).await.expect("an answer");
    eventually("the node", frozen, |found| *found == Some(of(4))).await;
    proxy.set(Link::Cut);
    assert_eq!(two.freeze_topic("shop", TOPIC, &of(8)).await.expect("an answer"), of(4));
    proxy.set(Link::Up);
    assert_eq!(freezing.await.expect("no panic").expect("frozen"), of(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repartition_is_noted_until_it_is_frozen_and_only_by_the_leader() {
    let site = Site::new();
    let (one, two) = (site.connect().await, site.connect().await);
    let shutdown = CancellationToken::new();
    let lease = one.acquire("/sources/shop/leader", "w1", &shutdown).await.expect("free");
    let growth = Growth { request: "r1".to_owned(), topic: TOPIC.to_owned(), from: 4, to: 8 };
    assert_eq!(one.growth("shop").await.expect("an answer"), None);
    one.freeze_topic("shop", TOPIC, &of(4)).await.expect("frozen");
    one.write_growth(&lease, "shop", Some(&growth)).await.expect("noted");
    assert_eq!(two.growth("shop").await.expect("an answer"), Some(growth.clone()));
    assert_eq!(two.frozen_topic("shop", TOPIC).await.expect("an answer"), Some(of(4)));
    for _ in 0..2 {
        one.end_growth(&lease, "shop", &growth).await.expect("ended");
        assert_eq!(two.growth("shop").await.expect("an answer"), None);
        assert_eq!(two.frozen_topic("shop", TOPIC).await.expect("an answer"), Some(of(8)));
    }
    let second = two.contend("/sources/shop/leader", "w2");
    let refused = two.write_growth(&second, "shop", Some(&growth)).await.expect_err("not the leader");
    assert!([Code::LeaseLost, Code::ZooKeeperUnavailable].contains(&refused.code()), "{refused}");

    two.write_growth(&lease, "shop", Some(&growth)).await.expect("noted");
    for _ in 0..2 {
        two.forget_topics("shop").await.expect("forgotten");
        assert_eq!(one.frozen_topic("shop", TOPIC).await.expect("an answer"), None);
        assert_eq!(one.growth("shop").await.expect("an answer"), None);
    }
}
