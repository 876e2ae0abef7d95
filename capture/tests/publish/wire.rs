//! Raw requests to a broker: who is the producer of a transactional id, an EndTxn in its name, and a successor that fences it.
//!
//! This is what a request looks like that was held up on an old connection: same producer, same epoch, but the client
//! has long moved on to its next transaction.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::site::server;

/// A producer as the transaction coordinator knows it.
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) state: String,
    /// Topics with partitions in its open transaction.
    pub(crate) topics: usize,
}

fn call(request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server("OTTER_SERVERS_KAFKA")).expect("the broker");
    let length = u32::try_from(request.len()).expect("short").to_be_bytes();
    stream.write_all(&[&length, request].concat()).expect("sent");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).expect("a whole answer");
    answer
}

/// DescribeTransactions, version 0.
pub(crate) fn describe(transactional_id: &str) -> Producer {
    let mut request = Vec::new();
    request.extend_from_slice(&65i16.to_be_bytes());
    request.extend_from_slice(&0i16.to_be_bytes());
    request.extend_from_slice(&7i32.to_be_bytes());
    request.extend_from_slice(&[0, 3, b'r', b'a', b'w', 0]); // client id, no tags
    request.extend_from_slice(&[2, u8::try_from(transactional_id.len() + 1).expect("short")]);
    request.extend_from_slice(transactional_id.as_bytes());
    request.push(0);
    let answer = call(&request);
    let mut at = 4 + 1 + 4 + 1 + 2; // correlation, tags, throttle, array length, error
    let id_length = usize::from(answer[at]) - 1;
    at += 1 + id_length;
    let state_length = usize::from(answer[at]) - 1;
    let state = String::from_utf8_lossy(&answer[at + 1..at + 1 + state_length]).into_owned();
    at += 1 + state_length + 4 + 8; // timeout, start
    let id = i64::from_be_bytes(answer[at..at + 8].try_into().expect("8 bytes"));
    let epoch = i16::from_be_bytes(answer[at + 8..at + 10].try_into().expect("2 bytes"));
    let topics = usize::from(answer[at + 10]) - 1;
    Producer { id, epoch, state, topics }
}

/// EndTxn, version 1; the broker's error code.
pub(crate) fn end_txn(transactional_id: &str, producer: &Producer, commit: bool) -> i16 {
    let mut request = Vec::new();
    request.extend_from_slice(&26i16.to_be_bytes());
    request.extend_from_slice(&1i16.to_be_bytes());
    request.extend_from_slice(&7i32.to_be_bytes());
    request.extend_from_slice(&[0, 3, b'r', b'a', b'w']);
    request.extend_from_slice(&u16::try_from(transactional_id.len()).expect("short").to_be_bytes());
    request.extend_from_slice(transactional_id.as_bytes());
    request.extend_from_slice(&producer.id.to_be_bytes());
    request.extend_from_slice(&producer.epoch.to_be_bytes());
    request.push(u8::from(commit));
    let answer = call(&request);
    i16::from_be_bytes([answer[8], answer[9]])
}

/// InitProducerId, version 1: whoever has the transactional id is fenced.
pub(crate) fn init_producer(transactional_id: &str) {
    let mut request = Vec::new();
    request.extend_from_slice(&22i16.to_be_bytes());
    request.extend_from_slice(&1i16.to_be_bytes());
    request.extend_from_slice(&7i32.to_be_bytes());
    request.extend_from_slice(&[0, 3, b'r', b'a', b'w']);
    request.extend_from_slice(&u16::try_from(transactional_id.len()).expect("short").to_be_bytes());
    request.extend_from_slice(transactional_id.as_bytes());
    request.extend_from_slice(&60_000i32.to_be_bytes());
    call(&request);
}
