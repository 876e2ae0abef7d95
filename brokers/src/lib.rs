//! What Kafka says about topics: their ids and partition counts, for capture and apply. To ask makes no topic, whatever
//! the brokers' settings.
//!
//! rdkafka does not wrap DescribeTopics, so this crate calls librdkafka itself. It is the only place of the project
//! with unsafe code. The argument for its soundness:
//! - every object that librdkafka hands out is owned by one guard here and freed once, in the guard's `Drop`;
//! - pointers borrowed from the result event (descriptions, names, ids) do not leave the function that holds the event;
//! - the client outlives the call, because it is borrowed, and librdkafka's client is thread-safe;
//! - the result comes on a queue of its own that nobody else polls. When the wait ends without it, the queue is freed and
//!   librdkafka drops the late answer.
#![expect(unsafe_code, reason = "DescribeTopics is not wrapped by rdkafka; the head of this module argues soundness")]

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka_sys as sys;
use schemas::{Code, Error, Result};
use sys::rd_kafka_resp_err_t::{
    self, RD_KAFKA_RESP_ERR_NO_ERROR, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
    RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
};

/// Room of librdkafka's own choice for an error text.
const ERROR_TEXT: usize = 512;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFacts {
    /// The id in base64, as Kafka's own tools print it. A topic that was deleted and made again has another one.
    pub id: String,
    /// Count of partitions.
    pub partitions: usize,
}

/// An object of librdkafka with the function that frees it.
struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(object: *mut T, free: unsafe extern "C" fn(*mut T), what: &str) -> Result<Self> {
        let object = NonNull::new(object)
            .ok_or_else(|| Error::new(Code::KafkaUnavailable, format!("librdkafka made no {what}")))?;
        Ok(Self { object, free })
    }

    fn get(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given the function that frees this kind of object, and nobody else frees it.
        unsafe { (self.free)(self.object.as_ptr()) }
    }
}

/// Describes topics; those that do not exist are missing in the answer, or ones that this broker has not heard of yet.
/// Blocks up to `timeout`.
///
/// # Errors
/// [`Code::KafkaUnavailable`] when no answer came in time or the broker refused, [`Code::KafkaDenied`] without the right;
/// the message says which.
pub fn describe<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<HashMap<String, TopicFacts>> {
    let wait = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let event = request(client, topics, wait)?;
    // SAFETY: the event is alive; the texts it lends are copied before it is freed.
    unsafe {
        let code = sys::rd_kafka_event_error(event.get());
        if code != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(refused("the topics", code, sys::rd_kafka_event_error_string(event.get())));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return Err(Error::new(Code::KafkaUnavailable, "the answer to DescribeTopics is of another kind"));
        }
        let mut count = 0;
        let list = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut found = HashMap::with_capacity(count);
        for at in 0..count {
            if let Some((name, facts)) = read(*list.add(at))? {
                found.insert(name, facts);
            }
        }
        Ok(found)
    }
}

/// Sends the request and waits for its result event.
fn request<C: ClientContext>(client: &Client<C>, topics: &[&str], wait: i32) -> Result<Owned<sys::rd_kafka_event_t>> {
    let names: Vec<CString> = topics
        .iter()
        .map(|t| {
            CString::new(*t).map_err(|e| Error::new(Code::TopicInvalid, format!("topic name {t:?}")).with_source(e))
        })
        .collect::<Result<_>>()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let handle = client.native_ptr();
    // SAFETY: `handle` lives as long as `client`; `pointers` and the strings behind them outlive the calls that read
    // them, and librdkafka copies them; each object made here is freed by its guard; the event that is returned does not
    // need the queue it came from.
    unsafe {
        let queue = Owned::new(sys::rd_kafka_queue_new(handle), sys::rd_kafka_queue_destroy, "queue")?;
        let collection = Owned::new(
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            sys::rd_kafka_TopicCollection_destroy,
            "topic collection",
        )?;
        let options = Owned::new(
            sys::rd_kafka_AdminOptions_new(handle, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            sys::rd_kafka_AdminOptions_destroy,
            "options",
        )?;
        let mut text: [c_char; ERROR_TEXT] = [0; ERROR_TEXT];
        let code = sys::rd_kafka_AdminOptions_set_request_timeout(options.get(), wait, text.as_mut_ptr(), text.len());
        if code != RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(refused("the request's timeout", code, text.as_ptr()));
        }
        sys::rd_kafka_DescribeTopics(handle, collection.get(), options.get(), queue.get());
        Owned::new(
            sys::rd_kafka_queue_poll(queue.get(), wait),
            sys::rd_kafka_event_destroy,
            "answer to DescribeTopics in time",
        )
    }
}

/// One topic of the result; `None` when the broker does not know it.
///
/// # Safety
/// `topic` belongs to a result event that is alive.
unsafe fn read(topic: *const sys::rd_kafka_TopicDescription_t) -> Result<Option<(String, TopicFacts)>> {
    // SAFETY: the caller keeps the event alive; what is borrowed from it is copied here.
    unsafe {
        let name = text(sys::rd_kafka_TopicDescription_name(topic));
        let error = sys::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            let code = sys::rd_kafka_error_code(error);
            if code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART {
                return Ok(None);
            }
            if code != RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(refused(&format!("topic {name}"), code, sys::rd_kafka_error_string(error)));
            }
        }
        let mut partitions = 0;
        sys::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let id = sys::rd_kafka_TopicDescription_topic_id(topic);
        let id = if id.is_null() { String::new() } else { text(sys::rd_kafka_Uuid_base64str(id)) };
        Ok(Some((name, TopicFacts { id, partitions })))
    }
}

/// # Safety
/// `pointer` is null or a zero-terminated text that is alive.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// # Safety
/// `reason` is null or a zero-terminated text that is alive.
unsafe fn refused(what: &str, code: rd_kafka_resp_err_t, reason: *const c_char) -> Error {
    // SAFETY: by this function's contract.
    let reason = unsafe { text(reason) };
    let kind = match code {
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Code::KafkaDenied,
        _ => Code::KafkaUnavailable,
    };
    Error::new(kind, format!("Kafka does not describe {what}: {code:?} {reason}"))
}
