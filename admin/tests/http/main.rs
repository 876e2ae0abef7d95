//! HTTP over a real socket and a real ZooKeeper: the endpoints of every role, the API, the schema registry.

mod access;
mod documents;
mod endpoints;
mod hostile;
mod openapi;
mod registry;
mod requests;
mod site;
mod tokens;
