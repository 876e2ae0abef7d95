//! Whose turn it is to get one of a number of connections. Pure.
//!
//! Turns go by table, not by lane: the table that holds the fewest connections is next, and among equals the one that
//! waits longest. So a table with many lanes and a backlog gets what the others leave, and one that wakes up gets the
//! next connection that comes free. Within a table it goes by arrival.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// One who waits.
#[derive(Debug)]
struct Waiter<W> {
    ticket: u64,
    /// Whether it takes a connection with a transaction of others, too.
    joins: bool,
    waiter: W,
}

/// The turns. While a connection is free nobody waits.
#[derive(Debug)]
pub(crate) struct Turns<W> {
    free: usize,
    held: HashMap<Arc<str>, usize>,
    /// The tables that wait, in the order of their turns; each has at least one who waits.
    waiting: VecDeque<(Arc<str>, VecDeque<Waiter<W>>)>,
    last_ticket: u64,
}

impl<W> Turns<W> {
    /// For so many connections.
    pub(crate) fn new(connections: usize) -> Self {
        Self { free: connections, held: HashMap::new(), waiting: VecDeque::new(), last_ticket: 0 }
    }

    /// Takes a connection for a table when one is free.
    pub(crate) fn take(&mut self, table: &Arc<str>) -> bool {
        let Some(free) = self.free.checked_sub(1) else { return false };
        self.free = free;
        *self.held.entry(Arc::clone(table)).or_default() += 1;
        true
    }

    /// Waits for a turn; the ticket is for [`Turns::leave`].
    pub(crate) fn wait(&mut self, table: &Arc<str>, joins: bool, waiter: W) -> u64 {
        self.last_ticket += 1;
        let waiter = Waiter { ticket: self.last_ticket, joins, waiter };
        match self.waiting.iter_mut().find(|(name, _)| name == table) {
            Some((_, waiters)) => waiters.push_back(waiter),
            None => self.waiting.push_back((Arc::clone(table), VecDeque::from([waiter]))),
        }
        self.last_ticket
    }

    /// Waits no more; nothing happens when the turn has come already.
    pub(crate) fn leave(&mut self, table: &Arc<str>, ticket: u64) {
        if let Some((_, waiters)) = self.waiting.iter_mut().find(|(name, _)| name == table) {
            waiters.retain(|waiter| waiter.ticket != ticket);
        }
        self.waiting.retain(|(_, waiters)| !waiters.is_empty());
    }

    /// Whether anybody waits who takes a connection with a transaction of others.
    pub(crate) fn any_joins(&self) -> bool {
        self.waiting.iter().any(|(_, waiters)| waiters.iter().any(|waiter| waiter.joins))
    }

    /// A table gives a connection back; who has it now, with its table.
    pub(crate) fn give(&mut self, table: &Arc<str>) -> Option<(Arc<str>, W)> {
        self.let_go(table);
        self.free += 1;
        let next = self.next(|_| true)?;
        self.take(&next.0);
        Some(next)
    }

    /// A table gives a connection on as it is; who has it now, with its table. When nobody wants it so, the table keeps it.
    pub(crate) fn give_on(&mut self, table: &Arc<str>) -> Option<(Arc<str>, W)> {
        let next = self.next(|waiter| waiter.joins)?;
        self.let_go(table);
        *self.held.entry(Arc::clone(&next.0)).or_default() += 1;
        Some(next)
    }

    fn let_go(&mut self, table: &Arc<str>) {
        if let Some(held) = self.held.get_mut(table) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(table);
            }
        }
    }

    fn next(&mut self, fits: impl Fn(&Waiter<W>) -> bool) -> Option<(Arc<str>, W)> {
        let held = |table: &Arc<str>| self.held.get(table).copied().unwrap_or_default();
        let fitting = self.waiting.iter().enumerate().filter(|(_, (_, waiters))| waiters.iter().any(&fits));
        let (at, _) = fitting.min_by_key(|(at, (table, _))| (held(table), *at))?;
        let (table, mut waiters) = self.waiting.remove(at)?;
        let waiter = waiters.iter().position(&fits).and_then(|at| waiters.remove(at))?;
        if !waiters.is_empty() {
            self.waiting.push_back((Arc::clone(&table), waiters));
        }
        Some((table, waiter.waiter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    fn given(turns: &mut Turns<u32>, from: &Arc<str>) -> Option<u32> {
        turns.give(from).map(|(_, waiter)| waiter)
    }

    #[test]
    fn a_table_that_wakes_up_is_next_whoever_waits_longer() {
        let (hot, cold) = (table("hot"), table("cold"));
        let mut turns = Turns::new(2);
        assert!(turns.take(&hot) && turns.take(&hot) && !turns.take(&hot));
        for lane in 1..=6 {
            turns.wait(&hot, true, lane);
        }
        turns.wait(&cold, true, 100);
        turns.wait(&cold, true, 101);
        assert_eq!(given(&mut turns, &hot), Some(100), "cold has none yet");
        assert_eq!(given(&mut turns, &hot), Some(1), "hot has none now");
        assert_eq!(given(&mut turns, &cold), Some(101));
        assert_eq!(given(&mut turns, &cold), Some(2), "nobody else waits");
    }

    #[test]
    fn tables_with_as_many_take_turns() {
        let tables: Vec<_> = ["a", "b", "c"].into_iter().map(table).collect();
        let mut turns = Turns::new(1);
        assert!(turns.take(&tables[0]));
        for round in 0..2 {
            for (at, table) in tables.iter().enumerate() {
                turns.wait(table, false, round * 10 + at as u32);
            }
        }
        let mut seen = Vec::new();
        let mut holder = Arc::clone(&tables[0]);
        while let Some((table, waiter)) = turns.give(&holder) {
            seen.push(waiter);
            holder = table;
        }
        assert_eq!(seen, [0, 1, 2, 10, 11, 12]);
        assert!(turns.take(&holder), "it is free again");
    }

    #[test]
    fn a_transaction_goes_on_only_to_who_takes_it() {
        let (one, other) = (table("one"), table("other"));
        let mut turns = Turns::new(1);
        assert!(turns.take(&one));
        turns.wait(&other, false, 1);
        assert!(!turns.any_joins());
        assert!(turns.give_on(&one).is_none());
        turns.wait(&other, true, 2);
        assert!(turns.any_joins());
        assert_eq!(turns.give_on(&one).map(|(_, waiter)| waiter), Some(2));
        assert!(!turns.take(&one), "the connection is in use all the time");
        assert_eq!(given(&mut turns, &other), Some(1));
    }

    #[test]
    fn who_leaves_gets_nothing() {
        let one = table("one");
        let mut turns = Turns::new(1);
        assert!(turns.take(&one));
        let ticket = turns.wait(&one, true, 1);
        turns.leave(&one, ticket);
        turns.leave(&one, ticket);
        assert_eq!(given(&mut turns, &one), None);
        assert!(turns.take(&one));
    }
}
