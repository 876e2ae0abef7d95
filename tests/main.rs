//! Integration tests: the `otter` binary on real servers.

mod harness;

mod api;
mod apply_faults;
mod capture_faults;
mod compressed;
mod input;
mod kills;
mod live;
mod lower_case;
mod many;
mod merges;
mod ordered;
mod partitions;
mod replay;
mod resets;
mod restarts;
mod rows_flow;
mod scale_out;
mod servers;
mod structure;
mod subscribers;
mod takeover;
mod types;
