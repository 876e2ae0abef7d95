//! The target side of apply against real servers of both kinds: `OTTER_SERVERS_TARGET` and `OTTER_SERVERS_MYSQL_TARGET`
//! (host:port), which `./deploy/test` sets.

mod check;
mod conflicts;
mod equality;
mod harness;
mod keyless;
mod kinds;
mod mapping;
mod merges;
mod ownership;
mod random;
mod respelled;
mod several;
mod shapes;
mod tls;
mod truncate;
mod values;
