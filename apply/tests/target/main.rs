//! The target side of apply against a real server: `OTTER_SERVERS_TARGET` (host:port), which `./deploy/test` sets.

mod check;
mod conflicts;
mod equality;
mod harness;
mod mapping;
mod ownership;
mod shapes;
mod values;
