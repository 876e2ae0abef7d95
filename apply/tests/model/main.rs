//! A model of lanes that share a table with a unique index: how a lane that meets a duplicate key waits, and that some
//! lane can always move.
//!
//! Every key lives in one lane, so the table is always the state of the vector of the lanes' positions; a transaction
//! moves one lane, or several that are joined, by any number of events, and the server refuses a state in which two rows
//! hold one unique value. The model knows nothing else: whatever a step leaves out (how many events have arrived, who is
//! killed) is left to chance, and the checker tries every choice, for every history up to a length and from every
//! beginning.
//!
//! It shows three procedures, each a refinement of the one before (docs/decisions tells the story):
//! - waiting until the siblings are beyond the event, then trying that event again, can stand still for ever;
//! - trying again with all that has arrived meanwhile is enough where a sibling is ahead, but not where two lanes that
//!   swap values need a third value which a sibling ahead of them holds already;
//! - joining the lanes up to the furthest of them always gets through.

mod lanes;

use lanes::{History, Lanes, Procedure, histories};
use stateright::{Checker, Model};

fn check(procedure: Procedure, histories: Vec<History>) -> impl Checker<Lanes> {
    Lanes { procedure, histories }.checker().threads(2).spawn_bfs().join()
}

/// `id1` gives the value up before `id3` takes it, and `id3`'s lane is ahead.
fn overtaken() -> History {
    History { before: [None, None, None], events: vec![(0, Some(0)), (0, Some(1)), (2, Some(0))] }
}

/// `id1` and `id2` swap their values by way of a third one, which `id3` takes afterwards.
fn swap_by_a_value_that_is_taken_later() -> History {
    History { before: [Some(0), Some(1), None], events: vec![(0, Some(2)), (1, Some(0)), (0, Some(1)), (2, Some(2))] }
}

#[test]
fn waiting_alone_can_stand_still() {
    let naive = check(Procedure::Wait, vec![overtaken()]);
    assert!(naive.discovery("some lane can move").is_some(), "the lane behind meets a row of the future");
}

#[test]
fn more_events_are_not_always_enough() {
    let checked = check(Procedure::WaitAndGather, vec![overtaken()]);
    checked.assert_properties();
    let checked = check(Procedure::WaitAndGather, vec![swap_by_a_value_that_is_taken_later()]);
    assert!(checked.discovery("some lane can move").is_some(), "each of the two needs the other to move first");
}

#[test]
fn with_joining_some_lane_can_always_move() {
    let mut all = histories(4);
    all.push(overtaken());
    all.push(swap_by_a_value_that_is_taken_later());
    let count = all.len();
    let checked = check(Procedure::WaitGatherAndJoin, all);
    checked.assert_properties();
    println!("{count} histories, {} states", checked.unique_state_count());
    assert!(checked.unique_state_count() > count, "something was explored");
}
