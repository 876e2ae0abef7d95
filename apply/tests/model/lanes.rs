//! The states of the lanes and their steps.

use stateright::{Model, Property};

/// A unique value.
pub(crate) type Value = u8;

/// Values that a row can hold.
const VALUES: Value = 3;

/// What the source did: rows before, then for each event the row and the value it holds afterwards; `None`: no row. The
/// row is the lane, the event's place its ordinal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct History {
    pub(crate) before: [Option<Value>; 3],
    pub(crate) events: Vec<(usize, Option<Value>)>,
}

impl History {
    /// Whether the source's own unique index admits it.
    fn is_valid(&self) -> bool {
        (0..=self.events.len()).all(|end| consistent(&self.rows(&[end; 3])))
    }

    /// The rows when each lane has applied its events before an ordinal.
    fn rows(&self, applied: &[usize; 3]) -> [Option<Value>; 3] {
        let mut rows = self.before;
        for (ordinal, &(lane, value)) in self.events.iter().enumerate() {
            if ordinal < applied[lane] {
                rows[lane] = value;
            }
        }
        rows
    }

    /// The ordinal of a lane's next event from an ordinal on.
    fn next(&self, lane: usize, from: usize) -> Option<usize> {
        (from..self.events.len()).find(|&at| self.events[at].0 == lane)
    }
}

/// All histories of a number of events, from every beginning, that a source can have.
pub(crate) fn histories(events: usize) -> Vec<History> {
    let values: Vec<Option<Value>> = std::iter::once(None).chain((0..VALUES).map(Some)).collect();
    let mut all = Vec::new();
    for code in 0..values.len().pow(3) {
        let of = |at: u32| values[code / values.len().pow(at) % values.len()];
        let begin = History { before: [of(0), of(1), of(2)], events: Vec::new() };
        if begin.is_valid() {
            extend(&begin, events, &values, &mut all);
        }
    }
    all
}

fn extend(begin: &History, events: usize, values: &[Option<Value>], all: &mut Vec<History>) {
    if events == 0 {
        all.push(begin.clone());
        return;
    }
    let now = begin.rows(&[begin.events.len(); 3]);
    for (lane, held) in now.iter().enumerate() {
        // An event that changes nothing is none.
        for &value in values.iter().filter(|value| *value != held) {
            let mut longer = begin.clone();
            longer.events.push((lane, value));
            if longer.is_valid() {
                extend(&longer, events - 1, values, all);
            }
        }
    }
}

fn consistent(rows: &[Option<Value>; 3]) -> bool {
    (0..3).all(|a| (a + 1..3).all(|b| rows[a].is_none() || rows[a] != rows[b]))
}

/// What a lane does that met a duplicate key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) enum Procedure {
    /// Waits until its siblings are beyond the event, and tries the event again.
    Wait,
    /// The same with all that has arrived meanwhile.
    WaitAndGather,
    /// And joins the lanes when that does not help either.
    WaitGatherAndJoin,
}

/// The model.
pub(crate) struct Lanes {
    pub(crate) procedure: Procedure,
    pub(crate) histories: Vec<History>,
}

/// The table and the progress rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    history: usize,
    /// Each lane has applied its events before this ordinal.
    applied: [usize; 3],
    /// The ordinal in front of which the lane stands.
    pending: [Option<usize>; 3],
    /// Whether the lane's worker knows that it waits: one that was killed tries first.
    waits: [bool; 3],
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A lane tries its events, of which so many have arrived: all at once, or else one by one up to the first that does
    /// not fit.
    Try { lane: usize, arrived: usize },
    /// A lane whose turn has come tries again, alone or by joining all.
    TryAgain { lane: usize },
    /// A lane's worker is killed, and another one takes the lane.
    Kill { lane: usize },
}

impl Lanes {
    fn of(&self, state: &State) -> &History {
        &self.histories[state.history]
    }

    /// Where the lane is when it has applied so many of its next events.
    fn after(&self, state: &State, lane: usize, events: usize) -> usize {
        let history = self.of(state);
        (0..events).fold(state.applied[lane], |at, _| history.next(lane, at).map_or(at, |next| next + 1))
    }

    fn fits(&self, state: &State, lane: usize, applied: usize) -> bool {
        let mut vector = state.applied;
        vector[lane] = applied;
        consistent(&self.of(state).rows(&vector))
    }

    /// Whether a sibling will do nothing any more that came before the ordinal, as far as its progress row tells.
    fn is_beyond(&self, state: &State, lane: usize, ordinal: usize) -> bool {
        let at_end = self.of(state).next(lane, state.applied[lane]).is_none();
        at_end || state.applied[lane] > ordinal || state.pending[lane].is_some_and(|pending| pending > ordinal)
    }

    fn may_try_again(&self, state: &State, lane: usize) -> bool {
        let Some(ordinal) = state.pending[lane].filter(|_| state.waits[lane]) else { return false };
        (0..3).filter(|&other| other != lane).all(|other| self.is_beyond(state, other, ordinal))
    }

    fn move_to(state: &mut State, lane: usize, applied: usize) {
        state.applied[lane] = applied;
        state.pending[lane] = None;
        state.waits[lane] = false;
    }

    /// All at once, or else one by one; what does not fit is stood in front of.
    fn attempt(&self, state: &State, lane: usize, events: usize) -> State {
        let mut next = state.clone();
        let goal = self.after(state, lane, events);
        if self.fits(state, lane, goal) {
            Self::move_to(&mut next, lane, goal);
            return next;
        }
        for count in 1..=events {
            let step = self.after(state, lane, count);
            if !self.fits(state, lane, step) {
                next.pending[lane] = self.of(state).next(lane, next.applied[lane]);
                next.waits[lane] = true;
                return next;
            }
            Self::move_to(&mut next, lane, step);
        }
        next
    }

    /// The siblings are beyond the event in front of which the lane stands.
    fn attempt_again(&self, state: &State, lane: usize) -> State {
        if self.procedure == Procedure::Wait {
            return self.attempt(state, lane, 1);
        }
        let history = self.of(state);
        // All of its events up to the furthest sibling: they are in the log, since later ones are.
        let furthest = (0..3).map(|other| state.applied[other]).max().unwrap_or_default();
        let own = history.events.iter().enumerate();
        let behind = own.filter(|(at, (of, _))| *of == lane && (state.applied[lane]..furthest).contains(at)).count();
        for events in [behind, 1] {
            let next = self.attempt(state, lane, events.max(1));
            if next.applied != state.applied {
                return next;
            }
        }
        if self.procedure == Procedure::WaitAndGather || furthest <= state.applied[lane] {
            return state.clone();
        }
        let mut next = state.clone();
        for other in 0..3 {
            if next.applied[other] < furthest {
                Self::move_to(&mut next, other, furthest);
            }
        }
        next
    }

    fn is_done(&self, state: &State) -> bool {
        (0..3).all(|lane| self.of(state).next(lane, state.applied[lane]).is_none())
    }

    /// What can happen without anybody being killed.
    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        for lane in 0..3 {
            let left = self.of(state).events.iter().enumerate();
            let left = left.filter(|(at, (of, _))| *of == lane && *at >= state.applied[lane]).count();
            if !state.waits[lane] {
                steps.extend((1..=left).map(|arrived| Step::Try { lane, arrived }));
            } else if self.may_try_again(state, lane) && self.attempt_again(state, lane) != *state {
                steps.push(Step::TryAgain { lane });
            }
        }
        steps
    }
}

impl Model for Lanes {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let begin = |history| State { history, applied: [0; 3], pending: [None; 3], waits: [false; 3] };
        (0..self.histories.len()).map(begin).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        actions.extend(self.steps(state));
        actions.extend((0..3).filter(|&lane| state.waits[lane]).map(|lane| Step::Kill { lane }));
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        Some(match step {
            Step::Try { lane, arrived } => self.attempt(state, lane, arrived),
            Step::TryAgain { lane } => self.attempt_again(state, lane),
            // The progress row stays as it is.
            Step::Kill { lane } => {
                let mut next = state.clone();
                next.waits[lane] = false;
                next
            }
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            // A step without a kill moves a lane or makes one wait, so there is no way round in circles among them: if one
            // is always possible, all ends.
            Property::always("some lane can move", |model: &Self, state| {
                model.is_done(state) || !model.steps(state).is_empty()
            }),
            Property::always("no two rows hold one value", |model: &Self, state| {
                consistent(&model.of(state).rows(&state.applied))
            }),
            Property::always("the end is the source's", |model: &Self, state| {
                let history = model.of(state);
                !model.is_done(state) || history.rows(&state.applied) == history.rows(&[history.events.len(); 3])
            }),
            Property::sometimes("all is applied", |model: &Self, state| model.is_done(state)),
        ]
    }
}
