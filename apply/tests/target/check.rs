//! What `otter check` finds on a real server.

use schemas::charset::Charset;
use schemas::check::{Finding, Level, SourceTable, SourceTables};
use schemas::documents::{Document, Pipeline, Target};
use schemas::table::{Column, ColumnType, TableName, TableStructure};

use crate::harness::{Place, Server};

fn documents(place: &Place, user: &str, mappings: &str) -> (Pipeline, Target) {
    let address = place.server.address();
    let text = format!(
        "kind: target\nname: report\ntype: mysql\naddress: {address}\nuser: {user}\npassword: env:{}\n\
         tls: {{mode: disabled}}\nschema: {}\n---\nkind: pipeline\nname: users\nsource: shop\ntarget: report\nmappings: [{mappings}]\n",
        place.server.variable(),
        place.schema
    );
    let mut documents = Document::parse_all(&text).expect("documents").into_iter();
    match (documents.next(), documents.next()) {
        (Some(Document::Target(target)), Some(Document::Pipeline(pipeline))) => (pipeline, target),
        other => panic!("{other:?}"),
    }
}

fn source(name: &str) -> (TableName, SourceTable) {
    let column = |name: &str, ty, nullable| Column { name: name.to_owned(), ty, nullable };
    let name = TableName::new("shop", name);
    let columns = vec![
        column("id", ColumnType::Int { bytes: 4, unsigned: false }, false),
        column("name", ColumnType::Text { length_bytes: 2, charset: Charset::Utf8 }, true),
        column("odd `one`", ColumnType::Double, true),
    ];
    let topic = schemas::names::topic("shop", &name);
    let structure = TableStructure { name: name.clone(), columns, key: vec![0] };
    let charsets = [("name".to_owned(), "utf8mb4".to_owned())].into();
    (name, SourceTable { structure, topic, rows: Some(false), charsets })
}

/// The findings about a subject that ends so, without the good ones.
fn faults(found: &[Finding], subject: &str) -> Vec<String> {
    let about = found.iter().filter(|f| f.subject.ends_with(subject) && !matches!(f.level, Level::Ok));
    about.map(|f| format!("{} {}", f.code.as_deref().unwrap_or("-"), f.message)).collect()
}

/// Makes a user with the address of the server as its password, which the test can refer to without a secret of its own.
async fn user(place: &mut Place, name: &str) {
    let address = place.server.address();
    place.run(&format!("DROP USER IF EXISTS {name}@'%'; CREATE USER {name}@'%' IDENTIFIED BY '{address}'")).await;
}

async fn what_fits_is_fine_and_what_does_not_is_named(server: Server) {
    let mut place = Place::new(server, "check").await;
    let (schema, name) = (place.schema.clone(), format!("otter_check_{}", std::process::id()));
    user(&mut place, &name).await;
    place.run(&format!("GRANT ALL ON {schema}.* TO {name}@'%'")).await;
    place
        .run("CREATE TABLE fits (id int PRIMARY KEY, name varchar(20), `odd ``one``` double, g int AS (id + 1))")
        .await;
    place.run("CREATE TABLE keyless (id int, name varchar(20) NOT NULL, `odd ``one``` double)").await;
    place.run("CREATE TABLE heap (id int PRIMARY KEY, name varchar(20)) ENGINE=MEMORY").await;
    place.run("CREATE TABLE far (id int PRIMARY KEY, name varchar(20), `odd ``one``` double)").await;
    let far = format!("{schema}_far");
    place.run(&format!("DROP DATABASE IF EXISTS {far}; CREATE DATABASE {far}")).await;
    let key = format!("FOREIGN KEY (id) REFERENCES {schema}.far (id) ON UPDATE CASCADE");
    place.run(&format!("CREATE TABLE {far}.grandchild (id int, {key})")).await;
    place.run(&format!("GRANT ALL ON {far}.* TO {name}@'%'")).await;
    place.run("CREATE TABLE child (id int PRIMARY KEY, name varchar(20), `odd ``one``` double, FOREIGN KEY (id) REFERENCES fits (id) ON DELETE CASCADE)").await;
    let mappings: Vec<String> = ["fits", "keyless", "heap", "child", "far", "absent"]
        .iter()
        .map(|table| format!("{{from: shop.{table}, to: {schema}.{table}}}"))
        .collect();
    let (pipeline, target) = documents(&place, &name, &mappings.join(", "));
    let sources: SourceTables = ["fits", "keyless", "heap", "child", "far", "absent"].map(source).into();

    let found = apply::check(&pipeline, &target, &sources).await;

    let all = |subject: &str| faults(&found, subject).join("\n");
    assert_eq!(all("target report"), "", "{found:?}");
    assert_eq!(all(".progress"), "", "{found:?}");
    assert!(found.iter().any(|f| f.subject.ends_with(".progress")), "{found:?}");
    for parent in [".fits", ".far"] {
        assert!(all(parent).contains("cascades") && all(parent).lines().count() == 1, "{parent}: {found:?}");
    }
    assert!(
        all(".keyless").contains("every update and delete looks through")
            && all(".keyless").contains("is NOT NULL here"),
        "{found:?}"
    );
    assert!(all(".heap").contains("ENGINE=InnoDB") && all(".heap").contains("no column `odd `one``"), "{found:?}");
    assert!(all(".child").contains("cascades"), "{found:?}");
    assert!(all(".absent").contains("has no table"), "{found:?}");
    place.run(&format!("DROP USER {name}@'%'; DROP DATABASE {far}")).await;
    place.drop().await;
}

async fn missing_privileges_are_named(server: Server) {
    let mut place = Place::new(server, "check_grants").await;
    let (schema, name) = (place.schema.clone(), format!("otter_check_g_{}", std::process::id()));
    user(&mut place, &name).await;
    place.run("CREATE TABLE t (id int PRIMARY KEY, name varchar(20), `odd ``one``` double)").await;
    place.run(&format!("GRANT SELECT, INSERT ON {schema}.t TO {name}@'%'")).await;
    let (pipeline, target) = documents(&place, &name, &format!("{{from: shop.t, to: {schema}.t}}"));
    let sources: SourceTables = [source("t")].into();

    let found = apply::check(&pipeline, &target, &sources).await;

    let lacking = faults(&found, ".t").join("\n");
    for privilege in ["UPDATE", "DELETE"] {
        assert!(lacking.contains(&format!("GRANT {privilege} ON")), "{privilege}: {found:?}");
    }
    assert!(!lacking.contains("GRANT SELECT ON") && !lacking.contains("GRANT INSERT ON"), "{found:?}");
    assert!(faults(&found, ".progress").iter().any(|f| f.starts_with("OT5002")), "{found:?}");

    let (pipeline, target) = documents(&place, "nobody_at_all", &format!("{{from: shop.t, to: {schema}.t}}"));
    let found = apply::check(&pipeline, &target, &SourceTables::new()).await;
    assert_eq!(faults(&found, "target report").len(), 1, "{found:?}");
    place.run(&format!("DROP USER {name}@'%'")).await;
    place.drop().await;
}

async fn rows_on_one_side_and_narrow_characters_are_named(server: Server) {
    let mut place = Place::new(server, "check_rows").await;
    let (schema, name) = (place.schema.clone(), format!("otter_check_r_{}", std::process::id()));
    user(&mut place, &name).await;
    place.run(&format!("GRANT ALL ON {schema}.* TO {name}@'%'")).await;
    for table in ["bare", "full", "narrow", "begun"] {
        let charset = if table == "narrow" { "latin1" } else { "utf8mb4" };
        let columns = "id int PRIMARY KEY, name varchar(20), `odd ``one``` double";
        place.run(&format!("CREATE TABLE {table} ({columns}) CHARACTER SET {charset}")).await;
    }
    place.run("INSERT INTO full VALUES (1, 'a', 1); INSERT INTO begun VALUES (1, 'a', 1)").await;
    let mappings = ["bare", "full", "narrow", "begun"].map(|t| format!("{{from: shop.{t}, to: {schema}.{t}}}"));
    let (pipeline, target) = documents(&place, &name, &mappings.join(", "));
    let mut sources: SourceTables = ["bare", "full", "narrow", "begun"].map(source).into();
    sources.get_mut(&TableName::new("shop", "bare")).expect("the table").rows = Some(true);
    place.run(&schemas::progress::create_table(&schema)).await;
    let begun = schemas::names::topic("shop", &TableName::new("shop", "begun"));
    let values = format!("('users', '{begun}', 0, 5, 5)");
    place
        .run(&format!("INSERT INTO progress (pipeline, topic, `partition`, next_offset, ordinal) VALUES {values}"))
        .await;

    let found = apply::check(&pipeline, &target, &sources).await;

    let all = |subject: &str| faults(&found, subject).join("\n");
    assert!(all(".bare").starts_with("OT5004") && all(".bare").contains("none"), "{found:?}");
    assert!(all(".full").starts_with("OT5005") && all(".full").lines().count() == 1, "{found:?}");
    assert!(all(".narrow").contains("`name` is latin1 here and utf8mb4"), "{found:?}");
    assert_eq!(all(".begun"), "", "{found:?}");
    place.run(&format!("DROP USER {name}@'%'")).await;
    place.drop().await;
}

crate::on_both_servers! {
    rows_on_one_side_and_narrow_characters_are_named
    what_fits_is_fine_and_what_does_not_is_named
    missing_privileges_are_named
}
