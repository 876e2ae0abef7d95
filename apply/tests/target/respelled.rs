//! A document that changes to one which MySQL's comparison takes for the same: the text at the target follows.

use schemas::decode::DatumKind;
use schemas::encode::Op;

use crate::harness::{Event, Place, Server, Val, column, text, token, write};
use apply::target::writer::Policies;

async fn a_number_in_a_document_is_spelled_anew(server: Server) {
    let mut place = Place::new(server, "respelled").await;
    let writer = [column("id", DatumKind::Int), column("js", DatumKind::Json)];
    for (ddl, key) in [
        ("id int PRIMARY KEY, js json", "k"),
        ("id int PRIMARY KEY, js json, local int DEFAULT 7", "k"),
        ("id int, js json", ""),
    ] {
        place.run("DELETE FROM progress").await;
        place.run(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t ({ddl})")).await;
        let mapping = place.mapping(&writer, "t").await;
        let mut session = place.session().await;
        let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("a claim");
        let mut before = vec![Val::Int(1), text("1")];
        let first = Event::new(1, key.as_bytes(), Op::Create, &[], &before);
        write(&mut session, &mut lane, &mapping, Policies::default(), &[first]).await.expect("written");
        for (offset, document) in [(2, "1.0"), (3, "1"), (4, r#"{"a": 1}"#), (5, r#"{"a": 1.0}"#), (6, "[]")] {
            let after = vec![Val::Int(1), text(document)];
            let event = Event::new(offset, key.as_bytes(), Op::Update, &before, &after);
            let written = write(&mut session, &mut lane, &mapping, Policies::default(), &[event]).await;
            written.unwrap_or_else(|error| panic!("{ddl}: {document}: {error:?}"));
            assert_eq!(place.rows("SELECT CAST(js AS CHAR) FROM t").await, [document], "{ddl}");
            before = after;
        }
        session.close().await;
    }
    place.drop().await;
}

crate::on_both_servers! {
    a_number_in_a_document_is_spelled_anew
}
