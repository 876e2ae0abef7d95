//! Who owns a lane: claims, takeovers, lost connections.

use apply::target::connection::Session;
use apply::target::failure::Fault;
use apply::target::progress::ensure_schema;
use apply::target::writer::{Policies, WriteError, advance};
use schemas::Code;
use schemas::decode::DatumKind;

use crate::harness::{Event, Place, Server, Val, column, options, token, write};

async fn place(server: Server, name: &str) -> Place {
    let mut place = Place::new(server, name).await;
    place.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    place
}

async fn a_former_owner_cannot_write(server: Server) {
    let mut place = place(server, "takeover").await;
    let mapping = place.mapping(&[column("id", DatumKind::Int)], "t").await;
    let mut old = place.session().await;
    let (mut old_lane, claimed) = place.claim(&mut old, &token(1)).await.expect("as the test has it");
    assert_eq!((claimed.next_offset, claimed.ordinal, claimed.topic_id.as_str(), claimed.new), (0, -1, "topic", true));
    write(&mut old, &mut old_lane, &mapping, Policies::default(), &[Event::create(0, &[Val::Int(0)])])
        .await
        .expect("as the test has it");
    let mut new = place.session().await;
    let (mut new_lane, claimed) = place.claim(&mut new, &token(2)).await.expect("as the test has it");
    assert_eq!((claimed.next_offset, claimed.ordinal, claimed.new), (1, 5, false));
    let next = [Event::create(1, &[Val::Int(1)])];
    let taken = write(&mut old, &mut old_lane, &mapping, Policies::default(), &next).await;
    assert!(matches!(&taken, Err(WriteError::Taken(e)) if e.code() == Code::LaneTaken), "{taken:?}");
    assert!(matches!(advance(&mut old, &mut old_lane, (9, 9)).await, Err(WriteError::Taken(_))));
    assert_eq!(place.rows("SELECT COUNT(*) FROM t").await, ["1"]);
    write(&mut new, &mut new_lane, &mapping, Policies::default(), &next).await.expect("as the test has it");
    advance(&mut new, &mut new_lane, (7, 15)).await.expect("as the test has it");
    let progress = place.rows("SELECT next_offset, ordinal, owner, pipeline, topic, `partition` FROM progress").await;
    assert_eq!(progress, [format!("7|15|{}|p|shop.a.t|0", token(2))]);
    place.drop().await;
}

/// The claim waits for a transaction of the former owner and sees what it committed.
async fn a_claim_waits_for_the_writer(server: Server) {
    let mut place = place(server, "claim_waits").await;
    let mut session = place.session().await;
    place.claim(&mut session, &token(1)).await.expect("as the test has it");
    place.run("START TRANSACTION; UPDATE progress SET next_offset = 3").await;
    let busy = place.claim(&mut session, &token(2)).await.map(|(_, claimed)| claimed).expect_err("as the test has it");
    assert_eq!((busy.fault, busy.error.code()), (Fault::Busy, Code::TargetBusy));
    place.run("COMMIT").await;
    let (_, claimed) = place.claim(&mut session, &token(3)).await.expect("as the test has it");
    assert_eq!((claimed.next_offset, claimed.new), (3, false));
    place.drop().await;
}

async fn a_killed_connection_is_lost_and_claimed_again(server: Server) {
    let mut place = place(server, "killed").await;
    let mapping = place.mapping(&[column("id", DatumKind::Int)], "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    place.run(&format!("KILL {}", session.connection_id())).await;
    let events = [Event::create(0, &[Val::Int(0)])];
    let lost = write(&mut session, &mut lane, &mapping, Policies::default(), &events).await;
    assert!(matches!(&lost, Err(WriteError::Lost(e)) if e.code() == Code::TargetUnreachable), "{lost:?}");
    drop(session);
    let mut session = place.session().await;
    let (mut lane, claimed) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    assert_eq!(claimed.next_offset, 0);
    write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("as the test has it");
    place.drop().await;
}

async fn a_locked_row_is_busy_and_nothing_moves(server: Server) {
    let mut place = place(server, "busy").await;
    place.run("INSERT INTO t VALUES (5)").await;
    let mapping = place.mapping(&[column("id", DatumKind::Int)], "t").await;
    let mut session = place.session().await;
    let (mut lane, _) = place.claim(&mut session, &token(1)).await.expect("as the test has it");
    place.run("START TRANSACTION; SELECT * FROM t WHERE id = 5 FOR UPDATE").await;
    let events = [Event::create(0, &[Val::Int(0)]), Event::delete(1, &[Val::Int(5)])];
    let busy = write(&mut session, &mut lane, &mapping, Policies::default(), &events).await;
    assert!(matches!(&busy, Err(WriteError::Busy(e)) if e.code() == Code::TargetBusy), "{busy:?}");
    place.run("ROLLBACK").await;
    assert_eq!(place.rows("SELECT next_offset FROM progress").await, ["0"]);
    let outcome =
        write(&mut session, &mut lane, &mapping, Policies::default(), &events).await.expect("as the test has it");
    assert_eq!((outcome.inserted, outcome.deleted), (1, 1));
    place.drop().await;
}

async fn the_progress_table_is_checked(server: Server) {
    let mut place = place(server, "progress").await;
    let mut session = place.session().await;
    ensure_schema(&mut session, &place.schema).await.expect("as the test has it");
    place.run("ALTER TABLE progress DROP PRIMARY KEY, ENGINE=MyISAM").await;
    let refused = ensure_schema(&mut session, &place.schema).await.expect_err("as the test has it");
    assert_eq!((refused.fault, refused.error.code()), (Fault::Refused, Code::TargetTable));
    assert!(refused.error.message().contains("ENGINE=InnoDB"), "{}", refused.error);
    place.run("ALTER TABLE progress ENGINE=InnoDB, DROP COLUMN request_id").await;
    assert!(
        ensure_schema(&mut session, &place.schema)
            .await
            .expect_err("as the test has it")
            .error
            .message()
            .contains("request_id")
    );
    place.drop().await;
    // A user that there is: MySQL may ask one that there is not for a method that the driver does not know.
    let gone = Session::connect(&[options(server, "otter", Some("x"))]).await.expect_err("as the test has it");
    assert_eq!((gone.fault, gone.error.code()), (Fault::Lost, Code::TargetUnreachable));
    assert!(gone.error.message().contains("1045"), "{}", gone.error);
}

crate::on_both_servers! {
    a_former_owner_cannot_write
    a_claim_waits_for_the_writer
    a_killed_connection_is_lost_and_claimed_again
    a_locked_row_is_busy_and_nothing_moves
    the_progress_table_is_checked
}
