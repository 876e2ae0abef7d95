//! Where a joint batch ends. Pure.
//!
//! It ends where a lane's batch would: behind a whole source transaction once it is large enough, in front of a record
//! that cannot be applied, where a generation rises or a replay is over. A set of one topic has one stretch, of one
//! schema; a set that keeps the order among tables has a stretch for every change of table, schema or kind.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use schemas::decode::{Datum, EventHead};
use schemas::encode::Op;
use schemas::gtid::Gtid;
use schemas::{Error, framing};

use crate::joined::feed::{Element, Kind};
use crate::joined::members::Members;
use crate::joined::merge::Position;
use crate::lane::barrier;
use crate::lane::intake::Limits;
use crate::lane::plans::Plan;
use crate::lane::replay::is_past;
use crate::target::batch::Batch;
use crate::target::joint::Stretch;
use crate::target::progress::Lane;
use crate::target::writer::Destination;

/// Values in one batch of the usual size, whatever its rows.
const MAX_DATUMS: usize = 400_000;

/// What is to be done in front of the first record.
#[derive(Debug)]
pub(crate) enum Border {
    /// The event is of a higher generation than some lanes.
    Generation(Rise),
    /// The event is past the source position up to which these lanes replay.
    Past(Vec<usize>),
    /// A barrier.
    Barrier,
    /// A record that cannot be applied.
    Broken(Error),
}

/// The first event of a higher generation.
#[derive(Debug)]
pub(crate) struct Rise {
    /// Its generation.
    pub(crate) generation: i32,
    /// Its ordinal.
    pub(crate) ordinal: i64,
    gtid: Option<String>,
    file: String,
    pos: i64,
}

impl Rise {
    fn new(at: Position, head: &EventHead<'_>) -> Self {
        let Position { generation, ordinal } = at;
        Self { generation, ordinal, gtid: head.gtid.map(str::to_owned), file: head.file.to_owned(), pos: head.pos }
    }

    /// Its place in the source, as an event says it.
    pub(crate) fn head(&self) -> EventHead<'_> {
        EventHead {
            op: Op::Delete,
            has_before: false,
            has_after: false,
            ordinal: self.ordinal,
            generation: self.generation,
            gtid: self.gtid.as_deref(),
            source_ts_ms: 0,
            file: &self.file,
            pos: self.pos,
            row: 0,
        }
    }

    /// The same for people.
    pub(crate) fn place(&self) -> &str {
        self.gtid.as_deref().unwrap_or(&self.file)
    }
}

/// The plans of the schemas that the ready events have, by topic.
pub(crate) type PlansBySchema = HashMap<(usize, u32), Arc<Plan>>;

/// What the cut goes by.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'r> {
    /// Where batches end.
    pub(crate) limits: Limits,
    /// So many times the usual size the limits are.
    pub(crate) factor: usize,
    /// Whether tables keep their order among each other.
    pub(crate) ordered: bool,
    /// The plans of all schemas.
    pub(crate) plans: &'r PlansBySchema,
}

/// A batch and what it stands for.
pub(crate) struct Cut<'a> {
    /// The events.
    pub(crate) stretches: Vec<Stretch<'a, 'a>>,
    /// How many elements it covers.
    pub(crate) count: usize,
    /// Where each lane goes.
    pub(crate) to: Vec<Option<(i64, i64)>>,
    /// Events that the start of their lane contains.
    pub(crate) contained: u64,
    /// Events of each lane, those since the last that its start contains if there is one.
    pub(crate) strict: Vec<u64>,
    /// Whether there is one.
    pub(crate) met_start: Vec<bool>,
    /// Position of the last element.
    pub(crate) last: Option<Position>,
    /// When the last event was made at the source, in milliseconds since 1970.
    pub(crate) source_ts_ms: Option<i64>,
    /// What is to be done before the first element can be taken.
    pub(crate) border: Option<Border>,
    /// Whether the limits have ended it.
    pub(crate) full: bool,
    bytes: usize,
    datums: usize,
}

/// Cuts a batch off what is ready.
pub(crate) fn cut<'a>(ready: &'a VecDeque<Element>, members: &Members, rules: Rules<'a>) -> Cut<'a> {
    let mut cut = Cut {
        stretches: Vec::new(),
        count: 0,
        to: vec![None; members.lanes.len()],
        contained: 0,
        strict: vec![0; members.lanes.len()],
        met_start: vec![false; members.lanes.len()],
        last: None,
        source_ts_ms: None,
        border: None,
        full: false,
        bytes: 0,
        datums: 0,
    };
    let replays = members.is_replaying();
    let (mut old, mut new): (Vec<Datum<'a>>, Vec<Datum<'a>>) = (Vec::new(), Vec::new());
    let mut last_gtid: Option<&'a str> = None;
    for element in ready {
        let (plan, head) = match read(element, members, rules.plans, &mut old, &mut new) {
            Ok(Some(read)) => read,
            Ok(None) => break,
            Err(border) => {
                cut.border = (cut.count == 0).then_some(border);
                break;
            }
        };
        if let Some(border) = border(&members.lanes, element.at, &head) {
            cut.border = (cut.count == 0).then_some(border);
            break;
        }
        if replays && cut.count > 0 && cut.is_over(members) {
            break;
        }
        let same = cut.count > 0 && head.gtid.is_some() && head.gtid == last_gtid;
        if !cut.admits(element, old.len() + new.len(), &rules, same) {
            cut.full = true;
            break;
        }
        let place = Place { plan, topic: members.topic_of[element.lane], ordered: rules.ordered };
        if !contains(&members.lanes[element.lane], head.gtid) {
            let (old, new) =
                (if head.has_before { &old[..] } else { &[] }, if head.has_after { &new[..] } else { &[] });
            if !cut.push(element, &place, members, (head.op, old, new)) {
                break;
            }
            cut.strict[element.lane] += 1;
        } else {
            cut.contained += 1;
            (cut.strict[element.lane], cut.met_start[element.lane]) = (0, true);
        }
        last_gtid = head.gtid;
        cut.advance(element, head.source_ts_ms, old.len() + new.len());
    }
    cut
}

/// An event's plan and head, its rows decoded; `None` when the plan is still to be made.
fn read<'a>(
    element: &'a Element,
    members: &Members,
    plans: &'a PlansBySchema,
    old: &mut Vec<Datum<'a>>,
    new: &mut Vec<Datum<'a>>,
) -> Result<Option<(&'a Plan, EventHead<'a>)>, Border> {
    let broken = |error: &Error| {
        let part = &members.parts[element.lane];
        let place = format!("{}/{}: the record at offset {}", part.topic, part.partition, element.record.offset);
        Border::Broken(Error::new(error.code(), format!("{place}: {}", error.message())))
    };
    let schema = match &element.kind {
        Kind::Barrier(barrier) => {
            let before = border(&members.lanes, element.at, &barrier::head(barrier));
            return Err(before.unwrap_or(Border::Barrier));
        }
        Kind::Broken(error) => return Err(broken(error)),
        Kind::Event(schema) => *schema,
    };
    let Some(plan) = plans.get(&(members.topic_of[element.lane], schema)) else { return Ok(None) };
    let (_, avro) = framing::split(element.record.value()).map_err(|e| broken(&e))?;
    let head = plan.decoder.decode(avro, old, new).map_err(|e| broken(&e))?;
    Ok(Some((plan.as_ref(), head)))
}

/// What is to be done in front of an event, if anything.
fn border(lanes: &[Lane], at: Position, head: &EventHead<'_>) -> Option<Border> {
    if lanes.iter().any(|lane| lane.replay().generation < at.generation) {
        return Some(Border::Generation(Rise::new(at, head)));
    }
    let past = |lane: &Lane| !lane.replay().past.is_empty() && is_past(&lane.replay().past, head);
    let over: Vec<usize> = (0..lanes.len()).filter(|&lane| past(&lanes[lane])).collect();
    (!over.is_empty()).then_some(Border::Past(over))
}

/// Whether the start of a lane contains a transaction.
fn contains(lane: &Lane, gtid: Option<&str>) -> bool {
    let (Some(start), Some(gtid)) = (lane.replay().start.as_ref(), gtid) else { return false };
    gtid.parse::<Gtid>().is_ok_and(|gtid| start.contains(&gtid))
}

/// Where an event goes.
struct Place<'a> {
    plan: &'a Plan,
    topic: usize,
    ordered: bool,
}

impl<'a> Cut<'a> {
    /// Whether no lane would replay behind what is in the batch.
    fn is_over(&self, members: &Members) -> bool {
        members.lanes.iter().zip(&self.to).all(|(lane, to)| {
            let next = to.map_or(lane.next_offset(), |(next, _)| next);
            next >= lane.replay().until && lane.replay().past.is_empty()
        })
    }

    fn admits(&self, element: &Element, datums: usize, rules: &Rules<'_>, same: bool) -> bool {
        let (bytes, datums, limits) = (self.bytes + element.record.weight(), self.datums + datums, &rules.limits);
        let most = MAX_DATUMS.saturating_mul(rules.factor);
        let fits = bytes <= limits.hard_bytes && datums <= most && self.count < limits.hard_rows;
        let small = self.count < limits.rows && bytes <= limits.bytes;
        self.count == 0 || (fits && (small || same))
    }

    /// Adds an event; false when it must go with another batch.
    fn push(
        &mut self,
        element: &'a Element,
        place: &Place<'a>,
        members: &Members,
        (op, old, new): (Op, &[Datum<'a>], &[Datum<'a>]),
    ) -> bool {
        let continues = self.stretches.last().is_some_and(|stretch| {
            let same = stretch.destinations.first().map(|d| std::ptr::from_ref(d.mapping))
                == place.plan.mappings.first().map(std::ptr::from_ref);
            let last = stretch.batch.changes().last().map(|change| change.op);
            same && (!place.ordered || (last == Some(Op::Create)) == (op == Op::Create))
        });
        if !continues {
            if !place.ordered && !self.stretches.is_empty() {
                return false;
            }
            let policies = members.topics[place.topic].table.policies;
            let destinations = place.plan.mappings.iter().map(|mapping| Destination { mapping, policies }).collect();
            self.stretches.push(Stretch { destinations, batch: Batch::new(), lanes: Vec::new() });
        }
        if let Some(stretch) = self.stretches.last_mut() {
            stretch.batch.push((element.record.offset, element.at.ordinal), element.record.key(), op, old, new);
            stretch.lanes.push(element.lane);
        }
        true
    }

    fn advance(&mut self, element: &Element, source_ts_ms: i64, datums: usize) {
        self.count += 1;
        self.bytes += element.record.weight();
        self.datums += datums;
        self.to[element.lane] = Some((element.record.offset + 1, element.at.ordinal));
        self.last = Some(element.at);
        self.source_ts_ms = Some(source_ts_ms);
    }
}
