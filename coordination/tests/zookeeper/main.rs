//! Coordination on a real ZooKeeper, through a proxy that cuts the connection or loses answers.
//!
//! Every test works under a chroot of its own, so they run side by side on one server.

mod check;
mod documents;
mod external;
mod lease;
mod outage;
mod partitions;
mod proxy;
mod registry;
mod requests;
mod sessions;
mod site;
mod tokens;
