//! What `otter check` asks of ZooKeeper.

use schemas::check::Level;
use zookeeper as zk;

use super::site::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_tried_on_a_node_that_does_not_stay() {
    let site = Site::new();
    let coordination = site.connect().await;
    let plain = site.plain().await;
    let before = plain.list_children("/").await.unwrap();
    let found = coordination.check().await;
    assert!(found.iter().all(|f| f.level == Level::Ok), "{found:?}");
    assert_eq!(plain.list_children("/").await.unwrap(), before);

    let read = [zk::Acl::new(zk::Permission::READ | zk::Permission::ADMIN, zk::AuthId::anyone())];
    plain.set_acl("/", &read, None).await.unwrap();
    let found = coordination.check().await;
    let codes: Vec<_> = found.iter().map(|f| f.code.as_deref()).collect();
    assert_eq!(codes, [Some("OT2004")], "{found:?}");
    plain.set_acl("/", zk::Acls::anyone_all().as_ref(), None).await.unwrap();
}
