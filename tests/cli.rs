//! The command line without any server: wrong usage, wrong configuration, wrong documents. Each ends with a message that has
//! code, cause and remedy, and with its exit code.

use std::io::Write as _;
use std::process::{Command, Stdio};

struct Done {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the binary in an empty folder, with some text as its standard input.
fn otter(arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Done {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_otter"));
    let own = std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("OTTER_"));
    command.env_clear().envs(own).envs(variables.iter().copied()).args(arguments).current_dir(folder.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    if let Err(e) = child.stdin.take().expect("a pipe").write_all(input.as_bytes()) {
        assert_eq!(e.kind(), std::io::ErrorKind::BrokenPipe, "it may end without reading, nothing else");
    }
    let output = child.wait_with_output().expect("ended");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Done { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn put(document: &str) -> Done {
    otter(&["put", "-f", "-"], &[], document)
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["wander"][..], &["put"], &["get", "--nothing"], &["pause", "pipeline"], &["config"], &[]] {
        let done = otter(arguments, &[], "");
        assert_eq!(done.code, Some(2), "{arguments:?}: {}", done.stderr);
        assert!(done.stderr.contains("Usage: otter"), "{arguments:?}: {}", done.stderr);
    }
}

#[test]
fn help_and_version_end_with_0() {
    let help = otter(&["--help"], &[], "");
    assert_eq!(help.code, Some(0));
    for verb in
        ["run", "capture", "apply", "admin", "put", "get", "delete", "status", "pause", "resume", "check", "config"]
    {
        assert!(help.stdout.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {}", help.stdout);
    }
    assert_eq!(otter(&["--version"], &[], "").stdout, format!("otter {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_documents_are_refused_before_any_server_is_asked() {
    let unknown =
        put("kind: pipeline\nname: users\nsource: s\ntarget: t\nmappings: [{from: a.b, to: c.d, colums: {}}]\n");
    assert_eq!(unknown.code, Some(1));
    let expected = "error: OT1001: -: pipeline users: mappings[0].colums: unknown field `colums`";
    assert!(unknown.stderr.starts_with(expected), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("\n  remedy: Correct the field named"), "{}", unknown.stderr);

    let later = put("kind: source\nname: shop\naddresses: ['a:1']\nuser: u\ntopics: {transaction: true}\n");
    let expected =
        "error: OT1002: -: source shop: topics.transaction: this version does not have topics.transaction yet";
    assert!(later.stderr.starts_with(expected), "{}", later.stderr);

    let password = put("kind: target\nname: t\naddress: a:1\nuser: u\npassword: hunter2\n");
    assert!(
        password.stderr.contains("password: a secret is given by reference") && !password.stderr.contains("hunter2")
    );
    assert!(put("").stderr.starts_with("error: OT1001: there is no document in what was given\n"));
    let missing = otter(&["put", "-f", "no-such.yaml"], &[], "");
    assert!(missing.stderr.starts_with("error: OT1008: no-such.yaml cannot be read: "), "{}", missing.stderr);
}

#[test]
fn wrong_configuration_is_refused_with_the_key() {
    let key = otter(&["run", "--set", "kafka.brokrs=x"], &[], "");
    assert_eq!(key.code, Some(1));
    let expected = "error: OT1004: kafka.brokrs: there is no such key; there are brokers, client";
    assert!(key.stderr.starts_with(expected), "{}", key.stderr);
    let variable = otter(&["run"], &[("OTTER_HTTP__LISTENS", "x")], "");
    assert!(variable.stderr.starts_with("error: OT1004: http.listens: there is no such key"), "{}", variable.stderr);
    let secret = otter(
        &["run"],
        &[("OTTER_KAFKA__CLIENT__SASL_PASSWORD", "env:NO_SUCH"), ("OTTER_HTTP__LISTEN", "127.0.0.1:0")],
        "",
    );
    assert_eq!(secret.code, Some(1));
    assert!(secret.stderr.contains("error: OT1003: the environment variable NO_SUCH is not set"), "{}", secret.stderr);
    let filter = otter(&["run", "--set", "log.filter=a=b=c"], &[], "");
    assert!(filter.stderr.starts_with("error: OT1004: log.filter: "), "{}", filter.stderr);
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let variables = [("OTTER_CLUSTER", "test"), ("OTTER_KAFKA__CLIENT__SASL_PASSWORD", "hunter2")];
    let shown = otter(&["config", "show"], &variables, "");
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert!(shown.stdout.starts_with("cluster = \"test\"\n"), "{}", shown.stdout);
    assert!(shown.stdout.contains("chroot = \"/test\"") && shown.stdout.contains("\"sasl.password\" = \"***\""));
    assert!(!shown.stdout.contains("hunter2"));
    let json = otter(&["config", "show", "-o", "json"], &variables, "");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["http"]["listen"], "127.0.0.1:8010");
}

#[test]
fn an_unreachable_api_is_said() {
    let done = otter(&["get", "--set", "client.url=http://127.0.0.1:1"], &[], "");
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.starts_with("error: OT1026: "), "{}", done.stderr);
}

#[test]
fn an_unreachable_zookeeper_is_said() {
    let arguments =
        ["get", "--direct", "--set", "zookeeper.servers=127.0.0.1:1", "--set", "zookeeper.request_timeout=1s"];
    let done = otter(&arguments, &[], "");
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.starts_with("error: OT2001: "), "{}", done.stderr);
    assert!(done.stderr.contains("\n  remedy: Check `zookeeper.servers`"), "{}", done.stderr);
}
