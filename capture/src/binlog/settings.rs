//! What a source server must be like, and what it is like: settings and grants, judged without I/O.
//!
//! The same rules serve the start of a capture, which stops at the first that is broken, and `otter check`, which
//! lists them all.

use schemas::check::{Finding, Level};
use schemas::{Code, Error};

/// The oldest MariaDB that writes full metadata into TABLE_MAP.
const OLDEST: (u16, u16, u16) = (10, 5, 0);

/// The variables asked for, in this order.
pub(super) const VARIABLES: [&str; 9] = [
    "server_id",
    "log_bin",
    "binlog_format",
    "binlog_row_image",
    "binlog_row_metadata",
    "binlog_checksum",
    "log_bin_compress",
    "log_slave_updates",
    "gtid_slave_pos",
];

/// One rule and how the server stands to it.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// What was looked at, such as `binlog_format`.
    pub(crate) subject: String,
    /// How bad it is.
    pub(crate) level: Level,
    /// The code of an error or warning.
    pub(crate) code: Code,
    /// What was found.
    pub(crate) message: String,
    /// The SQL, or the configuration, that puts it right; empty when all is well.
    pub(crate) remedy: String,
}

impl Verdict {
    fn ok(subject: &str, message: String) -> Self {
        Self { subject: subject.into(), level: Level::Ok, code: Code::SourceSetting, message, remedy: String::new() }
    }

    fn wrong(subject: &str, code: Code, message: String, remedy: &str) -> Self {
        Self { subject: subject.into(), level: Level::Error, code, message, remedy: remedy.to_owned() }
    }

    fn warning(self) -> Self {
        Self { level: Level::Warning, ..self }
    }

    /// As an error that says everything in one line.
    pub(crate) fn error(&self) -> Error {
        Error::new(self.code, format!("{}; run: {}", self.message, self.remedy))
    }

    /// As a finding, with the exact remedy.
    pub(crate) fn finding(&self, source: &str) -> Finding {
        let subject = format!("source {source}: {}", self.subject);
        if self.level == Level::Ok {
            return Finding::ok(subject, &self.message);
        }
        Finding { level: self.level, remedy: self.remedy.clone(), ..Finding::error(subject, &self.error()) }
    }
}

/// `10.11.6-MariaDB-log` as numbers; `None` for a server that is not MariaDB or has no such version.
pub(super) fn mariadb_version(text: &str) -> Option<(u16, u16, u16)> {
    if !text.to_ascii_lowercase().contains("mariadb") {
        return None;
    }
    // Old replication protocols made MariaDB put this in front of its version.
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Judges the version.
pub(crate) fn judge_version(text: &str) -> Verdict {
    let wrong = |message: String, remedy: &str| Verdict::wrong("version", Code::SourceSetting, message, remedy);
    match mariadb_version(text) {
        None => wrong(
            format!("the server is {text}; this version reads MariaDB only"),
            "use a MariaDB server of 10.5 or newer as source",
        ),
        Some(version) if version < OLDEST => {
            wrong(format!("the server is MariaDB {text}; 10.5 is the oldest that can be read"), "upgrade the server")
        }
        Some(_) => Verdict::ok("version", format!("MariaDB {text}")),
    }
}

/// Judges the values of [`VARIABLES`].
pub(crate) fn judge_variables(value: impl Fn(&str) -> String) -> Vec<Verdict> {
    let must = |name: &str, wanted: &[&str], remedy: &str| {
        let found = value(name);
        if wanted.iter().any(|w| w.eq_ignore_ascii_case(&found)) {
            return Verdict::ok(name, format!("{name} is {found}"));
        }
        let message = format!("{name} is {found}, not {}", wanted[0]);
        Verdict::wrong(name, Code::SourceSetting, message, remedy)
    };
    let mut verdicts = vec![
        must("log_bin", &["ON", "1"], "put `log_bin` under [mariadbd] of the server's configuration and restart it"),
        must("binlog_format", &["ROW"], "SET GLOBAL binlog_format=ROW"),
        must("binlog_row_image", &["FULL"], "SET GLOBAL binlog_row_image=FULL"),
        must("binlog_row_metadata", &["FULL"], "SET GLOBAL binlog_row_metadata=FULL"),
        must("log_bin_compress", &["OFF", "0"], "SET GLOBAL log_bin_compress=OFF"),
        must("binlog_checksum", &["CRC32"], "SET GLOBAL binlog_checksum=CRC32"),
    ];
    // A server that has never replicated has nothing to pass on.
    if !value("gtid_slave_pos").is_empty() {
        let remedy = "put `log_slave_updates` under [mariadbd] and restart the server";
        verdicts.push(must("log_slave_updates", &["ON", "1"], remedy));
    }
    for verdict in &mut verdicts {
        // Without checksums damage goes unseen, and a replica without log_slave_updates hides what it replicates;
        // neither is wrong on every server.
        if verdict.level == Level::Error && ["binlog_checksum", "log_slave_updates"].contains(&verdict.subject.as_str())
        {
            *verdict = verdict.clone().warning();
        }
    }
    if value("server_id") == "0" {
        let remedy = "put `server_id` under [mariadbd] of the server's configuration and restart it";
        verdicts.push(Verdict::wrong("server_id", Code::SourceSetting, "server_id is 0".to_owned(), remedy));
    }
    verdicts
}

/// Judges the lines of SHOW GRANTS for `user`, as the server spells it.
pub(crate) fn judge_grants(lines: &[String], user: &str) -> Vec<Verdict> {
    let grants: Vec<Grant> = lines.iter().filter_map(|line| Grant::read(line)).collect();
    let global = |names: &[&str]| grants.iter().any(|g| g.on == "*.*" && g.holds(names));
    let verdict = |name: &str, held: bool, remedy: String| {
        if held {
            return Verdict::ok(name, format!("{user} has {name}"));
        }
        Verdict::wrong(name, Code::SourceGrant, format!("{user} lacks {name}"), &remedy)
    };
    let slave = global(&["REPLICATION SLAVE", "REPLICATION REPLICA"]);
    let monitor = global(&["BINLOG MONITOR", "REPLICATION CLIENT"]);
    let select = grants.iter().any(|g| g.holds(&["SELECT"]));
    vec![
        verdict("REPLICATION SLAVE", slave, format!("GRANT REPLICATION SLAVE ON *.* TO {user}")),
        verdict("BINLOG MONITOR", monitor, format!("GRANT BINLOG MONITOR ON *.* TO {user}")),
        verdict("SELECT", select, format!("GRANT SELECT ON *.* TO {user}")),
    ]
}

/// A line of SHOW GRANTS: privileges and what they are on.
#[derive(Debug)]
struct Grant {
    privileges: Vec<String>,
    on: String,
}

impl Grant {
    fn read(line: &str) -> Option<Self> {
        let (privileges, rest) = line.strip_prefix("GRANT ")?.split_once(" ON ")?;
        let (on, _) = rest.split_once(" TO ")?;
        let privileges = privileges.split(',').map(|p| p.trim().to_ascii_uppercase()).collect();
        Some(Self { privileges, on: on.to_owned() })
    }

    fn holds(&self, names: &[&str]) -> bool {
        self.privileges.iter().any(|p| p == "ALL PRIVILEGES" || names.contains(&p.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(mariadb_version("10.11.6-MariaDB-0+deb12u1-log"), Some((10, 11, 6)));
        assert_eq!(mariadb_version("5.5.5-10.4.1-MariaDB"), Some((10, 4, 1)));
        assert_eq!(mariadb_version("8.0.36"), None);
        assert_eq!(judge_version("10.4.30-MariaDB").level, Level::Error);
        assert_eq!(judge_version("9.1.0").level, Level::Error);
        assert_eq!(judge_version("11.4.2-MariaDB").level, Level::Ok);
    }

    fn variables(changed: &'static str, to: &'static str) -> impl Fn(&str) -> String {
        move |name| {
            let usual = match name {
                "binlog_format" => "ROW",
                "binlog_row_image" | "binlog_row_metadata" => "FULL",
                "binlog_checksum" => "CRC32",
                "log_bin_compress" => "0",
                "gtid_slave_pos" => "",
                _ => "1",
            };
            (if name == changed { to } else { usual }).to_owned()
        }
    }

    #[test]
    fn each_wrong_variable_is_named_with_its_remedy() {
        assert!(judge_variables(variables("", "")).iter().all(|v| v.level == Level::Ok));
        for (name, value, remedy) in [
            ("binlog_format", "STATEMENT", "SET GLOBAL binlog_format=ROW"),
            ("binlog_row_image", "MINIMAL", "SET GLOBAL binlog_row_image=FULL"),
            ("binlog_row_metadata", "NO_LOG", "SET GLOBAL binlog_row_metadata=FULL"),
        ] {
            let verdicts = judge_variables(variables(name, value));
            let wrong: Vec<_> = verdicts.iter().filter(|v| v.level == Level::Error).collect();
            assert_eq!(wrong.len(), 1, "{name}");
            assert_eq!(wrong[0].remedy, remedy);
            assert!(wrong[0].error().to_string().starts_with("OT3002"), "{}", wrong[0].error());
        }
        let replica = |name: &str| {
            variables("log_slave_updates", "0")(name) + if name == "gtid_slave_pos" { "0-1-1" } else { "" }
        };
        assert!(judge_variables(replica).iter().any(|v| v.level == Level::Warning && v.subject == "log_slave_updates"));
        let verdicts = judge_variables(variables("binlog_checksum", "NONE"));
        assert!(verdicts.iter().any(|v| v.level == Level::Warning) && verdicts.iter().all(|v| v.level != Level::Error));
    }

    fn missing(lines: &[&str]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        judge_grants(&lines, "`otter`@`%`").into_iter().filter(|v| v.level == Level::Error).map(|v| v.remedy).collect()
    }

    #[test]
    fn missing_grants_are_named_with_their_remedy() {
        let all = "GRANT SELECT, REPLICATION SLAVE, BINLOG MONITOR ON *.* TO `otter`@`%` IDENTIFIED BY PASSWORD '*DE'";
        assert!(missing(&[all]).is_empty());
        assert!(missing(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"]).is_empty());
        let some = ["GRANT REPLICATION SLAVE ON *.* TO `otter`@`%`", "GRANT SELECT ON `shop`.* TO `otter`@`%`"];
        assert_eq!(missing(&some), ["GRANT BINLOG MONITOR ON *.* TO `otter`@`%`"]);
        assert_eq!(missing(&["GRANT USAGE ON *.* TO `otter`@`%`"]).len(), 3);
        assert_eq!(missing(&["GRANT ALL PRIVILEGES ON `shop`.* TO `otter`@`%`"]).len(), 2);
    }
}
