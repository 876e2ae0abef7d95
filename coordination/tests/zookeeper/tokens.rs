//! The store of tokens.

use coordination::{Role, TokenRecord};

use super::site::Site;

fn token(hash: &str) -> TokenRecord {
    TokenRecord {
        id: "first".to_owned(),
        name: "admin".to_owned(),
        role: Role::Admin,
        hash: hash.to_owned(),
        created: 1,
        created_by: "the test".to_owned(),
        last_used: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_note_of_its_use_does_not_bring_a_token_back() {
    let site = Site::new();
    let tokens = site.connect().await.tokens();
    let (old, new) = (token("old"), token("new"));
    tokens.create_first(&old).await.unwrap();
    tokens.touch(&old, 7).await.unwrap();
    assert_eq!(tokens.list().await.unwrap()["first"].last_used, Some(7));
    tokens.delete("first").await.unwrap();
    tokens.touch(&old, 8).await.unwrap();
    assert!(tokens.list().await.unwrap().is_empty());
    tokens.create_first(&new).await.unwrap();
    tokens.touch(&old, 9).await.unwrap();
    assert_eq!(tokens.list().await.unwrap()["first"], new);
}
