//! What a target table must be, and what is said when it is not.

use apply::target::mapping::TableMapping;
use schemas::Code;
use schemas::decode::{DatumKind, WriterColumn};
use schemas::documents::Columns;

use crate::harness::{Place, Server, column};

async fn resolve(place: &Place, writer: &[WriterColumn], rules: &Columns, table: &str) -> Result<TableMapping, String> {
    let mut session = place.session().await;
    let resolved = TableMapping::resolve(&mut session, writer, rules, &place.table(table)).await;
    resolved.map_err(|failure| {
        assert_eq!(failure.error.code(), Code::TargetTable);
        failure.error.to_string()
    })
}

async fn what_does_not_fit_is_named_with_a_remedy(server: Server) {
    let mut place = Place::new(server, "refused").await;
    let id = column("id", DatumKind::Int);
    let with = |name: &str, kind| vec![id.clone(), column(name, kind)];
    let text = || with("v", DatumKind::Text);
    let cases: Vec<(&str, Vec<WriterColumn>, &[&str])> = vec![
        ("id int PRIMARY KEY", text(), &["no column `v`", "add the column"]),
        ("id int PRIMARY KEY, v int", text(), &["`v`", "cannot hold text", "widen"]),
        ("id int PRIMARY KEY, v enum('a')", text(), &["`v`"]),
        (
            "id int PRIMARY KEY, v decimal(9,2)",
            with("v", DatumKind::Decimal { precision: 10, scale: 2 }),
            &["decimal(9,2)", "DECIMAL(10,2)"],
        ),
        (
            "id int PRIMARY KEY, v decimal(20,1)",
            with("v", DatumKind::Decimal { precision: 10, scale: 2 }),
            &["decimal(20,1)"],
        ),
        ("id int PRIMARY KEY, v float", with("v", DatumKind::Double), &["float cannot hold DOUBLE"]),
        ("id int PRIMARY KEY, v double", with("v", DatumKind::Int), &["double cannot hold an integer"]),
        ("id int PRIMARY KEY, v timestamp NULL", with("v", DatumKind::TimestampMicros), &["timestamp cannot hold"]),
        ("id int PRIMARY KEY, v varchar(5)", with("v", DatumKind::Bytes), &["cannot hold bytes"]),
        ("id int PRIMARY KEY, v varchar(5), w int NOT NULL", text(), &["`w`", "give it a default"]),
        ("id int PRIMARY KEY, v varchar(5)) ENGINE=MyISAM", text(), &["MyISAM", "ENGINE=InnoDB"]),
    ];
    for (i, (ddl, writer, parts)) in cases.into_iter().enumerate() {
        let close = if ddl.contains("ENGINE") { "" } else { ")" };
        place.run(&format!("CREATE TABLE t{i} ({ddl}{close}")).await;
        let message = resolve(&place, &writer, &Columns::default(), &format!("t{i}")).await.expect_err(ddl);
        for part in parts {
            assert!(message.contains(part), "{ddl}: {message}");
        }
    }
    let missing = resolve(&place, &text(), &Columns::default(), "nowhere").await.expect_err("as the test has it");
    assert!(missing.contains("no table"), "{missing}");
    place.run("CREATE TABLE g (id int PRIMARY KEY, v varchar(5)); CREATE TRIGGER tr BEFORE INSERT ON g FOR EACH ROW SET NEW.v = 'x'; CREATE VIEW w AS SELECT * FROM g").await;
    assert!(
        resolve(&place, &text(), &Columns::default(), "g")
            .await
            .expect_err("as the test has it")
            .contains("triggers (tr)")
    );
    assert!(resolve(&place, &text(), &Columns::default(), "w").await.expect_err("as the test has it").contains("view"));
    place.drop().await;
}

async fn what_fits_is_taken(server: Server) {
    let mut place = Place::new(server, "fits").await;
    let decimal = DatumKind::Decimal { precision: 10, scale: 2 };
    let writer = vec![column("ID", DatumKind::Int), column("amt", decimal), column("Note", DatumKind::Text)];
    place
        .run(
            "CREATE TABLE a (surrogate bigint AUTO_INCREMENT PRIMARY KEY, amount decimal(12,4), id bigint unsigned NOT NULL UNIQUE, \
             twice int AS (id * 2) VIRTUAL, extra int NOT NULL DEFAULT 3)",
        )
        .await;
    let rules = Columns {
        exclude: ["Note".to_owned()].into(),
        rename: [("amt".to_owned(), "amount".to_owned())].into(),
        ..Columns::default()
    };
    resolve(&place, &writer, &rules, "a").await.expect("as the test has it");
    let unmapped = resolve(&place, &writer, &Columns::default(), "a").await.expect_err("as the test has it");
    assert!(unmapped.contains("`amt`") && unmapped.contains("`Note`"), "{unmapped}");
    let twice = Columns {
        rename: [("amt".to_owned(), "id".to_owned())].into(),
        exclude: ["Note".to_owned()].into(),
        ..Columns::default()
    };
    assert!(resolve(&place, &writer, &twice, "a").await.expect_err("as the test has it").contains("two columns"));
    place.drop().await;
}

crate::on_both_servers! {
    what_does_not_fit_is_named_with_a_remedy
    what_fits_is_taken
}
