//! `otter status`: the documents, and what the workers say about them.

mod text;

use admin::control::status::Status;

use super::Report;

impl Report for Status {
    fn text(&self) -> String {
        text::render(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin::control::Stored;
    use admin::control::status::merge;
    use coordination::WorkerInfo;
    use schemas::checkpoint::Checkpoint;
    use schemas::documents::Document;
    use schemas::status::{ErrorStatus, LaneStatus, PipelineState, SourceState, SourceStatus, WorkerStatus};
    use schemas::status::{LaneState, PipelineStatus};
    use schemas::{Code, Error};
    use std::collections::BTreeMap;

    fn documents() -> Vec<Stored> {
        let text = "
kind: source
name: crm
addresses: ['db1:3306']
user: otter
---
kind: source
name: shop
addresses: ['db2:3306']
user: otter
---
kind: pipeline
name: idle
source: crm
target: report
state: paused
mappings: [{from: a.b, to: c.d}]
---
kind: pipeline
name: users
source: shop
target: report
mappings: [{from: shop.tb_user, to: shop.tb_user2}]
";
        let stored = |d: Document| Stored { kind: d.kind(), name: d.name().to_string(), version: 0, document: Ok(d) };
        Document::parse_all(text).expect("valid").into_iter().map(stored).collect()
    }

    fn info(id: &str) -> WorkerInfo {
        let (host, version) = ("h".to_owned(), "0.1.0".to_owned());
        let roles = vec!["capture".to_owned(), "apply".to_owned()];
        WorkerInfo { id: id.to_owned(), roles, host, version, status_address: Some("127.0.0.1:8010".to_owned()) }
    }

    /// One worker that leads `shop` and has a lane that stands still.
    fn heard() -> WorkerStatus {
        let shop = SourceStatus {
            name: "shop".into(),
            state: SourceState::Running,
            gtid: "0-1-42".parse().expect("a position"),
            lag_ms: Some(7),
            rows: 1234,
            ..SourceStatus::default()
        };
        let error = ErrorStatus::new(&Error::new(Code::RowExists, "shop.tb_user2: id=7"), 0);
        let lane = LaneStatus {
            topic: "shop.shop.tb_user".into(),
            state: LaneState::Paused,
            next_offset: Some(90),
            end_offset: Some(100),
            rows: 80,
            error: Some(error),
            ..LaneStatus::default()
        };
        let users = PipelineStatus {
            name: "users".into(),
            state: PipelineState::Running,
            lanes: vec![lane],
            ..PipelineStatus::default()
        };
        WorkerStatus { worker: "h-1".into(), sources: vec![shop], pipelines: vec![users], ..WorkerStatus::default() }
    }

    #[test]
    fn what_people_see() {
        let mirror = Checkpoint {
            epoch: 1,
            file: "binlog.000001".into(),
            position: 4,
            ..Checkpoint::new(schemas::checkpoint::ServerIdentity::mariadb(1), "0-1-7".parse().expect("a position"))
        };
        let mirrors = BTreeMap::from([("crm".to_owned(), mirror)]);
        let answers = vec![Ok(heard()), Err("no answer within 2 s".to_owned())];
        let status = merge(&documents(), &mirrors, vec![info("h-1"), info("h-2")], answers);
        insta::assert_snapshot!(status.text(), @r"
        SOURCE  STATE      POSITION  LAG   ROWS  WORKER
        crm     no leader  0-1-7     -     0
        shop    running    0-1-42    7 ms  1234  h-1

        PIPELINE  STATE    TOPIC                 OFFSET  BEHIND  LAG  ROWS  WORKER
        idle      paused   -                     -       -       -    -
        users     stopped  shop.shop.tb_user[0]  90      10      -    80    h-1

        WORKER  ROLES          VERSION  ADDRESS
        h-1     capture,apply  0.1.0    127.0.0.1:8010
        h-2     capture,apply  0.1.0    127.0.0.1:8010 (silent: no answer within 2 s)

        pipeline users, shop.shop.tb_user[0]: OT5005: shop.tb_user2: id=7
          remedy: Repair the row, or set `existing_row` of the mapping; then resume.
        ");
        let json = serde_json::to_value(&status).expect("JSON");
        assert_eq!(json["sources"][0]["origin"], "mirror");
        assert_eq!(json["sources"][1]["state"], "running");
        assert_eq!(json["pipelines"][1]["lanes"][0]["error"]["code"], "OT5005");
    }

    #[test]
    fn a_table_that_somebody_paused_is_not_called_stopped() {
        let mut heard = heard();
        heard.pipelines[0].lanes[0].error = None;
        let text = merge(&documents(), &BTreeMap::new(), vec![info("h-1")], vec![Ok(heard)]).text();
        let users = text.lines().find(|l| l.starts_with("users")).expect("its line");
        assert_eq!(users.split_whitespace().nth(1), Some("paused"), "{text}");
    }

    #[test]
    fn a_lane_that_replays_says_so() {
        let mut heard = heard();
        let lane = &mut heard.pipelines[0].lanes[0];
        (lane.state, lane.replaying, lane.error) = (LaneState::Running, true, None);
        let status = merge(&documents(), &BTreeMap::new(), vec![info("h-1")], vec![Ok(heard)]);
        assert!(status.text().contains("users     replaying  shop.shop.tb_user[0]"), "{}", status.text());
    }

    #[test]
    fn the_lanes_of_a_table_are_lines_in_order_whoever_has_them() {
        let of = |worker: &str, partitions: [i32; 4]| {
            let mut heard = heard();
            let lane = heard.pipelines[0].lanes[0].clone();
            heard.worker = worker.to_owned();
            heard.pipelines[0].lanes = partitions
                .map(|partition| LaneStatus { partition, state: LaneState::Running, error: None, ..lane.clone() })
                .to_vec();
            Ok(heard)
        };
        let answers = vec![of("h-1", [0, 2, 4, 6]), of("h-2", [1, 3, 5, 10])];
        let text = merge(&documents(), &BTreeMap::new(), vec![info("h-1"), info("h-2")], answers).text();
        let lines: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("PIPELINE")).skip(2).take(8).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        users     running  shop.shop.tb_user[0]   90      10      -    80    h-1
        users     running  shop.shop.tb_user[1]   90      10      -    80    h-2
        users     running  shop.shop.tb_user[2]   90      10      -    80    h-1
        users     running  shop.shop.tb_user[3]   90      10      -    80    h-2
        users     running  shop.shop.tb_user[4]   90      10      -    80    h-1
        users     running  shop.shop.tb_user[5]   90      10      -    80    h-2
        users     running  shop.shop.tb_user[6]   90      10      -    80    h-1
        users     running  shop.shop.tb_user[10]  90      10      -    80    h-2
        ");
    }

    #[test]
    fn without_workers_and_documents() {
        assert_eq!(Status::default().text(), "There are no documents and no workers.\n");
        let status = merge(&documents(), &BTreeMap::new(), vec![], vec![]);
        assert!(status.text().contains("shop    no leader  -") && status.text().ends_with("No worker runs.\n"));
    }
}
