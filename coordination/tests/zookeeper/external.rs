//! The client of an external registry against one that answers as told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use coordination::{Coordination, Credentials, Options, RegistryOptions};
use schemas::secret::Secret;
use schemas::{Code, Reaction};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::site::Site;

/// Answers to `METHOD path`, and what was asked, with the authorization.
#[derive(Debug, Clone, Default)]
struct Fake {
    answers: Arc<Mutex<HashMap<String, (u16, String)>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/apis/ccompat/v7/", listener.local_addr().expect("bound"));
        let fake = Self::default();
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(stream));
            }
        });
        (fake, url)
    }

    fn set(&self, request: &str, status: u16, body: &str) {
        self.answers.lock().expect("unpoisoned").insert(request.to_owned(), (status, body.to_owned()));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().expect("unpoisoned"))
    }

    /// One request a connection.
    async fn answer(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut line, mut authorization, mut length) = (String::new(), String::new(), 0);
        stream.read_line(&mut line).await.expect("a request line");
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.expect("a header");
            let Some((name, value)) = header.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => authorization = format!(" [{value}]"),
                "content-length" => length = value.parse().expect("a number"),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("the body");
        let request = line.trim().trim_end_matches(" HTTP/1.1").replacen(" /apis/ccompat/v7/", " ", 1);
        let body = String::from_utf8(body).expect("text");
        self.asked.lock().expect("unpoisoned").push(format!("{request} {body}{authorization}"));
        let unknown = (404, r#"{"error_code":40401,"message":"not here"}"#.to_owned());
        let (status, text) = self.answers.lock().expect("unpoisoned").get(&request).cloned().unwrap_or(unknown);
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
        stream.write_all((head + &text).as_bytes()).await.expect("answered");
    }
}

async fn connect(url: &str, credentials: Option<Credentials>) -> Coordination {
    let registry = RegistryOptions { url: url.to_owned(), credentials, ca: None };
    let options = Options {
        chroot: format!("/test-{:016x}", rand::random::<u64>()),
        registry: Some(registry),
        ..Options::new(Site::new().servers)
    };
    Coordination::connect(&options, CancellationToken::new()).await.expect("ZooKeeper answers")
}

#[tokio::test]
async fn a_subject_is_freed_of_checks_once_and_ids_are_asked_for_once() {
    let (fake, url) = Fake::start().await;
    let basic = Credentials::Basic { user: "me".to_owned(), password: Secret::new("hunter2") };
    let worker = connect(&url, Some(basic)).await;
    assert!(worker.has_external_registry());
    let store = worker.schemas();
    fake.set("POST subjects/a%2Fb-value/versions", 200, r#"{"id":7}"#);
    // The registry has no settings of subjects that are not there yet: it is asked again behind the registration.
    assert_eq!(store.register("a/b-value", "\"int\"").await.expect("an id"), 7);
    let auth = " [Basic bWU6aHVudGVyMg==]";
    let put = format!("PUT config/a%2Fb-value {{\"compatibility\":\"NONE\"}}{auth}");
    let post = format!("POST subjects/a%2Fb-value/versions {{\"schema\":\"\\\"int\\\"\"}}{auth}");
    assert_eq!(fake.asked(), [put.clone(), post.clone(), put.clone()]);
    assert_eq!(*store.schema(7).await.expect("known"), *"\"int\"");
    assert_eq!(fake.asked(), Vec::<String>::new(), "what was registered needs not be asked for");
    fake.set("PUT config/c-value", 200, "{}");
    fake.set("POST subjects/c-value/versions", 200, r#"{"id":8,"version":3}"#);
    assert_eq!(store.register("c-value", "1").await.expect("an id"), 8);
    assert_eq!(store.register("c-value", "2").await.expect("an id"), 8);
    let asked: Vec<_> = fake.asked().iter().map(|line| line.chars().take(8).collect::<String>()).collect();
    assert_eq!(asked, ["PUT conf", "POST sub", "POST sub"], "settings once");
    fake.set("GET schemas/ids/9", 200, r#"{"schema":"\"long\"","schemaType":"AVRO"}"#);
    for _ in 0..2 {
        assert_eq!(*store.schema(9).await.expect("known"), *"\"long\"");
    }
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn each_failure_has_its_code_and_no_secret() {
    let (fake, url) = Fake::start().await;
    let worker = connect(&url, Some(Credentials::Token(Secret::new("hunter2")))).await;
    let store = worker.schemas();
    let register = "POST subjects/t-value/versions";
    // Not being allowed to set the level is no reason to stop.
    fake.set("PUT config/t-value", 403, r#"{"error_code":40301,"message":"no"}"#);
    let refusal = r#"{"error_code":409,"message":"Schema being registered is incompatible"}"#;
    for (status, body, code, said) in [
        (409, refusal, Code::SchemaIncompatible, "must be NONE"),
        (503, "try later", Code::RegistryUnavailable, "503"),
        (429, "{}", Code::RegistryUnavailable, "429"),
        (401, r#"{"error_code":40101,"message":"Unauthorized"}"#, Code::RegistryRefused, "40101: Unauthorized"),
        (422, r#"{"error_code":42201,"message":"Invalid"}"#, Code::RegistryRefused, "42201"),
        (302, "", Code::RegistryRefused, "302"),
        (200, "<html>", Code::RegistryRefused, "does not answer as a schema registry does"),
        (200, r#"{"id":-1}"#, Code::RegistryRefused, "does not answer as a schema registry does"),
    ] {
        fake.set(register, status, body);
        let e = store.register("t-value", "\"int\"").await.expect_err("refused");
        assert_eq!(e.code(), code, "{e}");
        assert!(e.message().contains(said) && !format!("{e:?}").contains("hunter2"), "{e:?}");
    }
    assert!(fake.asked().iter().all(|line| line.ends_with(" [Bearer hunter2]")));
    let missing = store.schema(5).await.expect_err("there is none");
    assert_eq!((missing.code(), missing.code().reaction()), (Code::SchemaUnknown, Reaction::Retry));
    fake.set("GET schemas/ids/5", 404, "<html>no such page</html>");
    assert_eq!(store.schema(5).await.expect_err("a wrong URL").code(), Code::RegistryRefused);
    fake.set("GET schemas/ids/5", 200, r#"{"schema":"x","schemaType":"PROTOBUF"}"#);
    assert_eq!(store.schema(5).await.expect_err("not Avro").code(), Code::RecordInvalid);
    let nobody = connect("http://127.0.0.1:1", None).await;
    let e = nobody.schemas().register("t", "\"int\"").await.expect_err("nobody answers");
    assert_eq!((e.code(), e.code().reaction()), (Code::RegistryUnavailable, Reaction::Retry));
}
