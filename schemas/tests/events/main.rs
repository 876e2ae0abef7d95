//! Events from end to end of the contract: row image → encoder → Avro → decoder, against writers that share no code
//! with either: an image writer made from the protocol's description (and held to images that a server wrote), and
//! apache-avro with values made by jiff and schoolbook arithmetic.

mod exact;
mod golden;
mod hostile;
mod image;
mod oracle;
mod properties;
mod reading;
mod rows;
mod server;
