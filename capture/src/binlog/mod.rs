//! The binlog of one source: connecting to the server, the dump, and the parts of its events.
//!
//! * [`server`]: the connection, the checks of settings and grants, the facts of the server.
//! * [`place`]: where a source can begin, and whether it can go on from a checkpoint.
//! * [`reader`]: the dump itself, checked event by event, into a [`channel`] bounded in bytes.
//! * [`event`]: a raw event taken apart without copying.
//! * [`payload`]: the events of a compressed transaction, one at a time.
//! * [`table_map`]: a table's structure out of TABLE_MAP and its full metadata.
//! * [`statement`]: what the text of a QUERY event does; `names`: its names at a server that keeps them in lower case.
//!
//! Bytes from the server are never trusted: everything here answers damaged input with an error and never panics.

pub mod channel;
mod compressed;
mod cursor;
pub mod event;
mod gtid_sets;
mod names;
pub mod payload;
pub mod place;
mod position;
pub mod reader;
mod scan;
pub mod server;
mod settings;
pub mod statement;
pub mod table_map;
