//! Documents as people write them: what is accepted and stored, and the message for what is not.

use schemas::documents::{Document, Kind, World, json_schema};
use schemas::table::TableName;

const ALL: &str = include_str!("golden/documents/all.yaml");

fn refused(text: &str) -> String {
    Document::parse_all(text).expect_err("refused").to_string()
}

/// A valid document of a kind with something added.
fn with(kind: Kind, more: &str) -> String {
    let base = match kind {
        Kind::Source => "name: shop\nuser: otter\naddresses: ['db1:3306']",
        Kind::Target => "name: report\nuser: otter\naddress: db2:3306",
        Kind::Pipeline => "name: users\nsource: shop\ntarget: report",
    };
    format!("kind: {kind}\n{base}\n{more}\n")
}

fn mapped(mapping: &str) -> String {
    with(Kind::Pipeline, &format!("mappings: [{mapping}]"))
}

/// Compares with a file beside the tests, or writes it when OTTER_TEST_GOLDEN is `write`.
fn golden(path: &str, text: &str) {
    let file = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("OTTER_TEST_GOLDEN").is_ok_and(|v| v == "write") {
        std::fs::write(&file, text).expect("written");
    }
    let found =
        std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{file}: {e}; OTTER_TEST_GOLDEN=write makes it"));
    assert_eq!(found, text, "{path} differs; formats are frozen, so a change needs a reason");
}

#[test]
fn what_is_stored_is_as_published() {
    let documents = Document::parse_all(ALL).expect("valid");
    let lines: Vec<_> = documents.iter().map(|d| d.to_json().expect("json") + "\n").collect();
    golden("tests/golden/documents/all.jsonl", &lines.concat());
    for (document, line) in documents.iter().zip(&lines) {
        assert_eq!(&Document::from_json(line.as_bytes()).expect("valid"), document);
        let yaml = document.to_yaml().expect("yaml");
        assert_eq!(&Document::parse_all(&yaml).expect("valid"), std::slice::from_ref(document), "{yaml}");
    }
}

#[test]
fn json_schemas_are_as_published() {
    for kind in Kind::ALL {
        let text = serde_json::to_string_pretty(&json_schema(kind)).expect("json") + "\n";
        golden(&format!("../docs/formats/schemas/{kind}.json"), &text);
    }
}

#[test]
fn wrong_fields_are_named_with_their_path() {
    let unknown = refused(&with(Kind::Source, "adress: x"));
    assert!(
        unknown.starts_with("OT1001: source shop: adress: unknown field `adress`, expected one of `name`"),
        "{unknown}"
    );
    let unknown = refused(&mapped("{from: a.b, to: c.d, colums: {}}"));
    assert!(unknown.starts_with("OT1001: pipeline users: mappings[0].colums: unknown field `colums`"), "{unknown}");
    let unknown = refused(&with(Kind::Source, "topics: {overrides: [{tables: a.b, retain: 7d}]}"));
    assert!(unknown.contains("topics.overrides[0].retain: unknown field"), "{unknown}");
    let missing = refused("kind: target\nname: report\nuser: otter\n");
    assert_eq!(missing, "OT1001: target report: missing field `address`");
    assert_eq!(refused("name: x\n"), "OT1001: document x: kind: it is missing");
    assert_eq!(
        refused("kind: chanel\n"),
        "OT1001: document without a name: kind: \"chanel\" is not one of source, target, pipeline"
    );
    assert_eq!(refused("[1]"), "OT1001: a document: it is not a mapping of fields");
}

#[test]
fn wrong_values_are_named_with_their_path() {
    let cases = [
        (with(Kind::Source, "tls: {mode: maybe}"), "tls.mode: unknown variant `maybe`"),
        (with(Kind::Source, "tls: {ca: /x}"), "tls.ca: a certificate authority is for the modes"),
        (with(Kind::Source, "tables: [shop]"), "tables[0]: \"shop\" is not a pattern like shop.tb_user"),
        (with(Kind::Source, "tables: ['mysql.*']"), "tables[0]: the schema mysql is never published"),
        (with(Kind::Source, "tables: ['otter.progress']"), "tables[0]: the schema otter is never published"),
        (with(Kind::Source, "start: {gtid: 1-2}"), "start.gtid: \"1-2\" is not a GTID like 0-1-42"),
        (with(Kind::Source, "start: now"), "start: unknown variant `now`"),
        (with(Kind::Source, "topics: {prefix: a.b}"), "topics.prefix: a prefix has 1 to 63 of"),
        (with(Kind::Source, "topics: {retention: 7 days}"), "topics.retention: \"7 days\" is not a duration"),
        (with(Kind::Source, "topics: {max_message: 2GiB}"), "topics.max_message: the largest event is"),
        (with(Kind::Source, "topics: {partitions: 0}"), "topics.partitions: the number of partitions is 1 to 1000"),
        (
            with(Kind::Source, "topics: {overrides: [{tables: a.b, partitions: 1001}]}"),
            "topics.overrides[0].partitions: the number of partitions is 1 to 1000",
        ),
        (
            with(Kind::Source, "topics: {overrides: [{tables: a.b, replication: 0}]}"),
            "topics.overrides[0].replication: ",
        ),
        (with(Kind::Source, "password: hunter2"), "password: a secret is given by reference, env:NAME or file:PATH"),
        (with(Kind::Target, "schema: mysql"), "schema: a system schema cannot hold Otter's tables"),
        (with(Kind::Pipeline, "mappings: []"), "mappings: there is no mapping"),
        (mapped("{from: a.b}"), "mappings[0]: missing field `to`"),
        (
            mapped("{from: a.b, to: c.d}, {from: a.b, to: c.e}"),
            "mappings[1].from: a.b is mapped by mappings[0] already",
        ),
        (mapped("{from: a.b, to: sys.d}"), "mappings[0].to: sys is a system schema"),
        (mapped("{from: a.b, to: [c.d, c.d]}"), "mappings[0].to: c.d is there twice"),
        (mapped("{from: a.b, to: []}"), "mappings[0].to: a mapping has 1 to 16 targets"),
        (
            mapped("{from: a.b, to: 'c.*'}"),
            "mappings[0].to: \"c.*\" is not a target like shop.tb_user2 or {schema}.{table}:",
        ),
        (mapped("{from: a.b, to: 'c.{name}'}"), "mappings[0].to: \"c.{name}\" is not a target like"),
        (
            mapped("{from: 'shop.*', to: '{schema}.{table}'}, {from: '*.user', to: '{schema}.{table}'}"),
            "mappings[1].from: shop.* and *.user of mappings[0] both match shop.user and neither is more specific",
        ),
        (
            mapped("{from: a.b, to: c.d, columns: {set: {x: '{name}'}}}"),
            "mappings[0].columns.set.x: \"{name}\": there are",
        ),
        (mapped("{from: a.b, to: c.d, columns: {set: {x: 1}}}"), "mappings[0].columns.set.x: invalid type: integer"),
        (
            mapped("{from: a.b, to: c.d, columns: {set: {X: a}, include: [x]}}"),
            "columns.set.X: a column of the source goes",
        ),
        (mapped("{from: a.b, to: c.d, columns: {set: {x: a, X: b}}}"), "columns.set.x: it is set twice"),
        (mapped("{from: a.b, to: c.d, truncate: never}"), "mappings[0].truncate: unknown variant `never`"),
        (mapped("{from: a.b, to: c.d, foreign_keys: on}"), "mappings[0].foreign_keys: unknown variant `on`"),
        (mapped("{from: a.b, to: c.d, batch: {rows: 0}}"), "mappings[0].batch.rows: a batch has 1 to"),
        (mapped("{from: a.b, to: c.d, columns: {include: []}}"), "mappings[0].columns.include: no column is left"),
        (mapped("{from: a.b, to: c.d, columns: {include: [x], exclude: [x]}}"), "mappings[0].columns.exclude: x is"),
        (mapped("{from: a.b, to: c.d, columns: {exclude: [x], rename: {x: y}}}"), "mappings[0].columns.rename.x: "),
        (mapped("{from: a.b, to: c.d, columns: {rename: {x: z, y: Z}}}"), "mappings[0].columns.rename: two columns"),
    ];
    for (text, expected) in cases {
        let message = refused(&text);
        assert!(message.starts_with("OT1001: ") && message.contains(expected), "{message}\nlacks {expected}");
        assert!(!message.contains("hunter2"));
    }
}

#[test]
fn settings_of_later_versions_are_refused_as_such() {
    let cases = [
        (with(Kind::Source, "topics: {names: {a.b: c}}"), "topics.names"),
        (with(Kind::Target, "type: postgres"), "type"),
        (mapped("{from: a.b, to: c.d, on_error: dead_letters}"), "mappings[0].on_error"),
        (mapped("{from: a.b, to: c.d}") + "apply: {on_error: dead_letters}", "apply.on_error"),
    ];
    for (text, path) in cases {
        let message = refused(&text);
        let expected = format!(": {path}: this version does not have ");
        assert!(message.starts_with("OT1002: ") && message.contains(&expected), "{message}\nlacks {expected}");
    }
}

#[test]
fn texts_that_are_no_documents_are_refused() {
    assert!(refused("a: [").starts_with("OT1001: this is not a document in YAML: "));
    assert!(refused("{\"kind\": ").starts_with("OT1001: this is not a document in JSON: "));
    assert!(refused("kind: source\nname: a\nname: b\n").contains("duplicate"), "a key given twice");
    assert_eq!(Document::parse_all("---\n# nothing\n---\n").expect("valid"), []);
    let many: Vec<_> = (0..20_000).map(|i| format!("{{from: a.t{i}, to: somewhere_else.t{i}}}")).collect();
    let large = refused(&mapped(&many.join(", ")));
    assert!(large.starts_with("OT1005: pipeline users has "), "{large}");
}

#[test]
fn a_source_knows_its_tables_and_topics() {
    let documents = Document::parse_all(ALL).expect("valid");
    let Document::Source(source) = &documents[0] else { panic!("a source") };
    let topic = |schema: &str, table: &str| source.topic_for(&TableName::new(schema, table)).map_err(|e| e.to_string());
    assert_eq!(topic("shop", "tb_user"), Ok("shop.shop.tb_user".to_owned()));
    assert_eq!(topic("my.db", "t"), Ok("shop.my_u002e_db.t".to_owned()));
    let not = "OT1001: source shop does not publish shop.audit_1; see its `tables`";
    assert_eq!(topic("shop", "audit_1"), Err(not.to_owned()));
    let settings = source.topic_settings(&TableName::new("shop", "orders"));
    assert_eq!((settings.partitions, settings.replication), (8, Some(2)));
    assert_eq!(settings.retention.map(|r| r.to_string()), Some("30d".to_owned()));
    assert_eq!(source.max_message().to_string(), "64MiB");

    let Document::Source(small) = &documents[3] else { panic!("a source") };
    assert!(small.follows(&TableName::new("anything", "t")));
    for own in ["mysql", "sys", "information_schema", "PERFORMANCE_SCHEMA", "otter"] {
        assert!(!small.follows(&TableName::new(own, "t")), "{own}");
    }
}

#[test]
fn a_mappings_settings_win_over_the_pipelines() {
    let documents = Document::parse_all(ALL).expect("valid");
    let Document::Pipeline(pipeline) = &documents[2] else { panic!("a pipeline") };
    let orders = pipeline.mapping_for(&TableName::new("shop", "orders")).expect("mapped");
    let settings = pipeline.settings_for(orders);
    assert_eq!((settings.batch_rows, settings.batch_bytes.get()), (100, 4 << 20));
    assert_eq!(format!("{:?} {:?}", settings.missing_row, settings.existing_row), "Overwrite Ignore");
    assert_eq!(format!("{:?} {:?}", settings.truncate, settings.foreign_keys), "Pause Off");
    assert_eq!(format!("{:?}", pipeline.start_for(orders)), "Latest");
    assert!(!orders.columns.takes("note"));
    assert_eq!(orders.columns.target_name("amt"), "amount");
    assert!(pipeline.mapping_for(&TableName::new("shop", "other")).is_none());
}

fn faults(documents: &[String]) -> Vec<String> {
    let mut world = World::default();
    for document in documents.iter().flat_map(|text| Document::parse_all(text).expect("valid")) {
        world.insert(document);
    }
    world.faults().iter().map(ToString::to_string).collect()
}

#[test]
fn documents_are_checked_together() {
    let (source, target) = (with(Kind::Source, ""), with(Kind::Target, ""));
    let put = |pipeline: String| faults(&[source.clone(), target.clone(), pipeline]);
    assert!(put(mapped("{from: shop.a, to: shop.a}")).is_empty());
    let own = put(mapped("{from: shop.a, to: otter.progress}"));
    assert_eq!(own, ["OT1001: pipeline users: mappings[0].to: otter.progress is a table of Otter's own"]);
    let twice = put(mapped("{from: shop.a, to: r.x}, {from: shop.b, to: r.x}"));
    assert!(
        twice[0].starts_with(
            "OT1032: pipeline users: mappings[1].to: shop.b would go to r.x, which shop.a of pipeline users"
        ),
        "{twice:?}"
    );
    let unpublished = put(mapped("{from: mysql.user, to: r.x}"));
    assert_eq!(unpublished, ["OT1001: pipeline users: mappings[0].from: source shop does not publish mysql.user"]);
    let nowhere = faults(&[mapped("{from: a.b, to: c.d}")]);
    assert_eq!(nowhere, ["OT1001: pipeline users: source: there is no source shop"]);
    let prefix = faults(&[source.clone(), source.replace("name: shop", "name: other") + "topics: {prefix: shop}\n"]);
    assert_eq!(prefix, ["OT1001: source shop: topics.prefix: shop is the prefix of source other already"]);
}

#[test]
fn tables_that_lead_back_to_themselves_are_refused() {
    let source = with(Kind::Source, "");
    let target = with(Kind::Target, "").replace("db2:3306", "db1:3306");
    let put = |pipeline: String| faults(&[source.clone(), target.clone(), pipeline]);
    assert!(put(mapped("{from: shop.tb_user, to: shop.tb_user2}")).is_empty(), "the same server is fine");
    let itself = put(mapped("{from: shop.a, to: shop.a}"));
    assert_eq!(itself, ["OT1001: pipeline users: mappings[0].to: shop.a is the source table itself"]);
    let back = put(mapped("{from: shop.a, to: shop.b}, {from: shop.b, to: shop.c}, {from: shop.c, to: shop.a}"));
    assert_eq!(
        back,
        ["OT1001: pipeline users: mappings[0].to: changes of shop.b lead back to shop.a on the same server"]
    );
}

#[test]
fn patterns_are_checked_together() {
    let (source, target) = (with(Kind::Source, ""), with(Kind::Target, ""));
    let put = |pipeline: String| faults(&[source.clone(), target.clone(), pipeline]);
    assert!(
        put(mapped("{from: 'crm_*.*', to: '{schema}.{table}'}, {from: 'shop.t_[00-31]', to: 'r.{table}'}")).is_empty()
    );
    let twice = put(mapped("{from: 'shop.t_[0-3]', to: 'r.{table}'}, {from: x.y, to: r.t_2}"));
    assert!(twice[0].contains("mappings[1].to: x.y would go to r.t_2, which shop.t_2 of pipeline users"), "{twice:?}");
    // a mapping of its own takes the table out of the pattern
    assert!(put(mapped("{from: 'shop.t_[0-3]', to: 'r.{table}'}, {from: shop.t_2, to: r.t_2}")).is_empty());
    let own = put(mapped("{from: 'shop.[progress,x]', to: 'otter.{table}'}"));
    assert!(own[0].contains(".to: otter.progress is a table of Otter's own"), "{own:?}");
}

/// What was refused once is accepted where all say that they merge, and their constants do not contradict that.
#[test]
fn tables_merge_where_all_say_so() {
    let (source, target) = (with(Kind::Source, ""), with(Kind::Target, ""));
    let other = source.replace("name: shop", "name: west");
    let put = |mappings: &str| faults(&[source.clone(), target.clone(), mapped(mappings)]);
    for fine in [
        "{from: 'shop.order_[00-31]', to: report.orders}",
        "{from: 'shop_*.t_*', to: report.orders}",
        "{from: 'shop_*.t_*', to: report.orders, columns: {set: {place: '{schema}/{table}'}}}",
        "{from: 'shop_*.t_*', to: 'report.{table}', columns: {set: {place: '{schema}'}}}",
        "{from: shop.a, to: r.x, merge: true}, {from: shop.b, to: r.x, merge: true}",
        "{from: shop.a, to: r.x, merge: true, columns: {set: {s: a}}}, {from: shop.b, to: r.x, merge: true, columns: {set: {S: b}}}",
        "{from: shop.a, to: r.x, merge: true, columns: {set: {s: a}}}, {from: shop.b, to: r.x, merge: true}",
        "{from: 'shop.t_[0-3]', to: [r.x, 'r.{table}']}, {from: x.y, to: r.x, merge: true}",
    ] {
        assert_eq!(put(fine), Vec::<String>::new(), "{fine}");
    }
    for (refused, why) in [
        ("{from: shop.a, to: r.x, merge: true}, {from: shop.b, to: r.x}", "all their mappings say `merge: true`"),
        ("{from: 'shop.t_[0-3]', to: [r.x, 'r.{table}']}, {from: x.y, to: r.t_1, merge: true}", "say `merge: true`"),
        ("{from: 'shop_*.t_*', to: r.x, columns: {set: {s: '{schema}'}}}", "make {table} part of one"),
        (
            "{from: shop.a, to: r.x, merge: true, columns: {set: {s: eu}}}, {from: shop.b, to: r.x, merge: true, columns: {set: {s: 'EU '}}}",
            "do not tell their rows apart",
        ),
        (
            "{from: shop.a, to: r.x, merge: true, columns: {set: {s: a}}}, {from: shop.b, to: r.x, merge: true, columns: {set: {t: b}}}",
            "do not tell their rows apart",
        ),
    ] {
        let found = put(refused);
        assert!(found.len() == 1 && found[0].starts_with("OT1032") && found[0].contains(why), "{refused}: {found:?}");
    }
    let of = |name: &str, mapping: &str| {
        mapped(mapping)
            .replace("name: users", &format!("name: {name}"))
            .replace("source: shop", &format!("source: {name}"))
    };
    let two = |mapping: &str| {
        faults(&[source.clone(), other.clone(), target.clone(), of("shop", mapping), of("west", mapping)])
    };
    assert_eq!(two("{from: a.t, to: r.t, merge: true, columns: {set: {s: '{source}'}}}"), Vec::<String>::new());
    assert_eq!(two("{from: a.t, to: r.t, merge: true}"), Vec::<String>::new());
    assert!(two("{from: a.t, to: r.t, merge: true, columns: {set: {s: '{schema}'}}}")[0].contains("apart"));
    assert!(two("{from: a.t, to: r.t}")[0].contains("which a.t of pipeline shop is written to"));
}

#[test]
fn patterns_that_lead_back_to_themselves_are_refused() {
    let source = with(Kind::Source, "");
    let target = with(Kind::Target, "").replace("db2:3306", "db1:3306");
    let put = |pipeline: String| faults(&[source.clone(), target.clone(), pipeline]);
    for (mappings, expected) in [
        ("{from: 'crm_*.*', to: '{schema}.{table}'}", "crm_.x is the source table itself"),
        ("{from: 'crm_*.*', to: 'crm_x.{schema}_{table}'}", "changes of crm_x.crm_"),
        ("{from: 'shop.*', to: 'shop.{table}_copy'}", "changes of shop.x_copy lead back to shop.x"),
        ("{from: 'a.*', to: 'b.{table}'}, {from: 'b.*', to: 'a.{table}'}", "changes of b.x lead back to a.x"),
        ("{from: 'a.*', to: 'b.{table}'}, {from: 'b.t[0-9]', to: 'a.{table}'}", "changes of b.t0 lead back to a.t0"),
    ] {
        let found = put(mapped(mappings));
        assert!(
            found.first().is_some_and(|f| f.starts_with("OT1001") && f.contains(expected)),
            "{mappings}: {found:?}"
        );
    }
    for fine in [
        "{from: 'crm_*.*', to: 'all.{schema}_{table}'}",
        "{from: 'shop.*', to: 'shop.{table}_copy', exclude: ['shop.*_copy']}",
        "{from: 'a.*', to: 'b.{table}'}, {from: 'b.t*', to: 'c.{table}'}",
    ] {
        assert_eq!(put(mapped(fine)), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_table_that_appears_is_checked_by_name() {
    let mut world = World::default();
    let target = with(Kind::Target, "").replace("db2:3306", "db1:3306");
    let pipeline = mapped(
        "{from: '*.*', to: '{table}.{schema}'}, {from: 'a.t*', to: 'b.{table}'}, {from: 'a.*x', to: 'b.{table}', exclude: [a.tx]}",
    );
    for document in
        [with(Kind::Source, ""), target, pipeline].iter().flat_map(|t| Document::parse_all(t).expect("valid"))
    {
        world.insert(document);
    }
    let check = |s: &str, t: &str| world.check_table("users", &TableName::new(s, t)).map_err(|e| e.to_string());
    assert_eq!(check("p", "p"), Err("OT1032: pipeline users: *.*.to: p.p is the source table itself".to_owned()));
    assert!(check("p", "q").expect_err("back").contains("changes of q.p lead back to p.q"));
    assert!(
        check("a", "tyx")
            .expect_err("ambiguous")
            .starts_with("OT1031: pipeline users: a.tyx is matched by a.t* and by a.*x")
    );
    assert_eq!(check("a", "t"), Ok(()));
}

#[test]
fn who_writes_a_table_is_known() {
    let mut world = World::default();
    let pipeline = mapped("{from: '*.*', to: 'all.{schema}_{table}'}, {from: 'a.t[1-2]', to: 'b.{table}'}");
    for text in [with(Kind::Source, ""), with(Kind::Target, ""), pipeline] {
        Document::parse_all(&text).expect("valid").into_iter().for_each(|d| world.insert(d));
    }
    let tables = ["a.t1", "x.y_z", "x_y.z"].map(|t| t.split_once('.').expect("a dot"));
    let known = tables.map(|(schema, table)| ("shop", TableName::new(schema, table)));
    let writers = schemas::documents::Writers::new(&world, known);
    let from = TableName::new("x", "y_z");
    let to = [TableName::new("all", "x_y_z")];
    let others: Vec<_> = writers.others(("users", &from), "db2:3306", &to).collect();
    assert_eq!(others.len(), 1);
    assert_eq!((others[0].1.from.to_string(), others[0].1.named), ("x_y.z".to_owned(), false));
    let named = [TableName::new("b", "t1")];
    let others: Vec<_> = writers.others(("users", &from), "db2:3306", &named).collect();
    assert!(others.len() == 1 && others[0].1.named);
    assert_eq!(writers.others(("users", &from), "db3:3306", &to).count(), 0);
}

/// What one document can make the process do is bounded, however much its patterns say.
#[test]
fn patterns_without_number_take_bounded_time_and_memory() {
    let start = std::time::Instant::now();
    let many = |each: &dyn Fn(usize) -> String, count: usize| {
        let mappings: String = (0..count).map(|i| format!("- {}\n", each(i))).collect();
        Document::parse_all(&with(Kind::Pipeline, &format!("mappings:\n{mappings}"))).expect("valid")
    };
    many(&|i| format!("{{from: 's*.t{i}*', to: 'x.t{i}'}}"), 10_000);
    many(&|i| format!("{{from: '*a*b*c*d*e*{i}.*a*b*c*d*e*f*g*h*', to: '{{schema}}_{i}.{{table}}'}}"), 5_000);
    let mut ranges = many(&|i| format!("{{from: 's.t{i}_[0000-9999]', to: 'x.{{table}}'}}"), 500);
    ranges.extend(Document::parse_all(&with(Kind::Source, "")).expect("valid"));
    ranges.extend(Document::parse_all(&with(Kind::Target, "")).expect("valid"));
    let mut world = World::default();
    ranges.into_iter().for_each(|document| world.insert(document));
    assert!(world.faults().is_empty(), "{:?}", world.faults().first());
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
}
