//! The schema store under concurrency, deletion and lost answers.

use std::collections::BTreeSet;

use schemas::Code;

use super::proxy::Link;
use super::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_are_given_once_and_never_again() {
    let site = Site::new();
    let worker = site.connect().await;
    let store = worker.registry();
    let one = store.register("shop.t-value", "one").await.unwrap();
    let two = store.register("shop.t-value", "two").await.unwrap();
    assert_eq!((one, two), (1, 2));
    assert_eq!(store.register("shop.t-value", "one").await.unwrap(), one);
    let elsewhere = site.connect().await.registry();
    assert_eq!(elsewhere.register("shop.t-value", "two").await.unwrap(), two);
    assert_eq!(*elsewhere.schema(one).await.unwrap(), *"one");
    assert_eq!(elsewhere.schema(9).await.unwrap_err().code(), Code::SchemaUnknown);
    let versions: Vec<_> = store.versions("shop.t-value").await.unwrap().iter().map(|v| (v.version, v.id)).collect();
    assert_eq!(versions, [(1, one), (2, two)]);
    assert!(store.versions("a/strange subject").await.unwrap().is_empty());
    assert_eq!(store.register("a/strange subject", "x").await.unwrap(), 3);

    // The highest is deleted: its number is not given again. Then the counter too: only what exists still counts.
    let plain = site.plain().await;
    plain.delete("/registry/ids/0000000003", None).await.unwrap();
    assert_eq!(store.register("shop.u-value", "u").await.unwrap(), 4);
    plain.delete("/registry/counter", None).await.unwrap();
    assert_eq!(store.register("shop.u-value", "u2").await.unwrap(), 5);
    // A version whose schema is gone does not stand in the way of its subject.
    assert_eq!(elsewhere.register("a/strange subject", "y").await.unwrap(), 6);

    let large = "x".repeat(coordination::MAX_NODE_BYTES);
    assert_eq!(store.register("shop.v-value", &large).await.unwrap_err().code(), Code::DocumentTooLarge);
    plain.set_data("/registry/subjects/shop.t-value", b"[]", None).await.unwrap();
    assert_eq!(store.register("shop.t-value", "z").await.unwrap_err().code(), Code::NodeInvalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_get_eight_ids_and_one_text_gets_one() {
    let site = Site::new();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let store = site.connect().await.registry();
        tasks.spawn(async move {
            let own = store.register("shop.t-value", &format!("schema {number}")).await?;
            let subject = store.register(&format!("shop.t{number}-value"), "same text, other subject").await?;
            let shared = store.register("shop.shared-value", "shared").await?;
            Ok::<_, schemas::Error>((number, own, subject, shared))
        });
    }
    let (mut ids, mut shared) = (BTreeSet::new(), BTreeSet::new());
    let reader = site.connect().await.registry();
    while let Some(result) = tasks.join_next().await {
        let (number, own, subject, one) = result.unwrap().unwrap();
        assert_eq!(*reader.schema(own).await.unwrap(), *format!("schema {number}"));
        assert!(ids.insert(own) && ids.insert(subject));
        shared.insert(one);
    }
    assert_eq!((ids.len(), shared.len()), (16, 1));
    assert!(ids.is_disjoint(&shared));
    // No id was wasted or written twice: 8 + 8 + 1.
    assert_eq!(reader.versions("shop.t-value").await.unwrap().len(), 8);
    assert_eq!(reader.versions("shop.shared-value").await.unwrap().len(), 1);
    assert_eq!(site.plain().await.list_children("/registry/ids").await.unwrap().len(), 17);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_whose_answer_is_lost_happens_once() {
    let site = Site::new();
    let (worker, proxy) = site.connect_through().await;
    let store = worker.registry();
    store.register("shop.t-value", "one").await.unwrap();
    proxy.set(Link::DeafToCommits);
    let registering = store.clone();
    let task = tokio::spawn(async move { registering.register("shop.t-value", "two").await });
    proxy.lost_an_answer().await;
    proxy.set(Link::Cut);
    proxy.set(Link::Up);
    assert_eq!(task.await.unwrap().unwrap(), 2);
    assert_eq!(store.versions("shop.t-value").await.unwrap().len(), 2);
    let plain = site.plain().await;
    assert_eq!(plain.list_children("/registry/ids").await.unwrap().len(), 2);
    assert_eq!(plain.get_data("/registry/counter").await.unwrap().0, b"2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_comes_back_keeps_its_text() {
    let site = Site::new();
    let (first, second) = (site.connect().await.registry(), site.connect().await.registry());
    let same = |text: &str| text.trim() == "one";
    let id = first.register("s-value", "one").await.unwrap();
    assert!(!first.register_like("s-value", " one ", same).await.unwrap().added);
    assert_eq!(first.hide("s-value", None).await.unwrap(), [1]);
    let again = second.register_like("s-value", " one ", same).await.unwrap();
    assert!(again.added && again.found.id == id && again.found.version == 2, "{again:?}");
    assert_eq!(*second.schema(id).await.unwrap(), *"one");
}
