//! What the integration tests stand on: servers, processes of the binary, databases, a TCP proxy, a reader of topics, a load.
//!
//! Tests share the servers named by `OTTER_SERVERS_…`; each has a [`Site`] of its own: cluster name, topics, schemas and
//! processes. Whatever a test starts ends with it. Waiting means asking for a condition until a deadline, never sleeping
//! for a time, and the last state seen is part of the error.

pub(crate) mod database;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod otter;
pub(crate) mod pair;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod site;
pub(crate) mod strain;
pub(crate) mod topics;
pub(crate) mod wait;

pub(crate) use anyhow::{Context, Result, bail, ensure};
pub(crate) use database::Database;
pub(crate) use load::Load;
pub(crate) use otter::Otter;
pub(crate) use servers::{Kind, Private, Servers};
pub(crate) use site::Site;
pub(crate) use strain::Strain;
pub(crate) use wait::wait_for;

/// The seed of a random test: `OTTER_TEST_SEED`, or a new one; printed either way.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("OTTER_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("OTTER_TEST_SEED={seed}");
    seed
}

/// Whether the hours-long forms were asked for.
pub(crate) fn long() -> bool {
    std::env::var_os("OTTER_TEST_LONG").is_some()
}
