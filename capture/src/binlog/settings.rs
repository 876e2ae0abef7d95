//! What a source server must be like, and what it is like: settings and grants, judged without I/O.
//!
//! The same rules serve the start of a capture, which stops at the first that is broken, and `otter check`, which
//! lists them all.

use schemas::check::{Finding, Level};
use schemas::checkpoint::Flavor;
use schemas::documents::{PositionMode, Source};
use schemas::{Code, Error};

use super::names::misspelled;

/// The oldest MariaDB that writes full metadata into TABLE_MAP.
const OLDEST_MARIADB: Version = (10, 5, 0);
/// The oldest MySQL whose variables have the names that are asked for here.
const OLDEST_MYSQL: Version = (8, 0, 26);

/// A server's version.
pub(super) type Version = (u16, u16, u16);

/// The variables asked for, in this order.
pub(super) fn variables(flavor: Flavor) -> &'static [&'static str] {
    match flavor {
        Flavor::Mariadb => &[
            "server_id",
            "log_bin",
            "binlog_format",
            "binlog_row_image",
            "binlog_row_metadata",
            "binlog_checksum",
            "log_slave_updates",
            "gtid_slave_pos",
            "lower_case_table_names",
        ],
        Flavor::Mysql => &[
            "server_id",
            "server_uuid",
            "log_bin",
            "binlog_format",
            "binlog_row_image",
            "binlog_row_metadata",
            "binlog_row_value_options",
            "binlog_checksum",
            "log_replica_updates",
            "gtid_mode",
            "lower_case_table_names",
        ],
    }
}

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

/// `10.11.6-MariaDB-log` or `9.7.4-2` as kind and numbers; `None` for a server that is neither or has no such version.
pub(super) fn version(text: &str) -> Option<(Flavor, Version)> {
    let lower = text.to_ascii_lowercase();
    let flavor = if lower.contains("mariadb") { Flavor::Mariadb } else { Flavor::Mysql };
    // These speak MySQL's protocol and have no binlog of their own to dump, or another one.
    if ["tidb", "oceanbase", "doris", "starrocks", "vitess", "singlestore"].iter().any(|other| lower.contains(other)) {
        return None;
    }
    // Old replication protocols made MariaDB put this in front of its version.
    let text = text.strip_prefix("5.5.5-").unwrap_or(text);
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
    Some((flavor, (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?)))
}

/// Judges the version.
pub(crate) fn judge_version(text: &str) -> Verdict {
    let wrong = |message: String, remedy: &str| Verdict::wrong("version", Code::SourceSetting, message, remedy);
    match version(text) {
        None => wrong(
            format!("the server is {text}, neither MariaDB nor MySQL"),
            "use a MariaDB server of 10.5 or newer or a MySQL server of 8.0.26 or newer as source",
        ),
        Some((Flavor::Mariadb, version)) if version < OLDEST_MARIADB => {
            wrong(format!("the server is MariaDB {text}; 10.5 is the oldest that can be read"), "upgrade the server")
        }
        Some((Flavor::Mysql, version)) if version < OLDEST_MYSQL => {
            wrong(format!("the server is MySQL {text}; 8.0.26 is the oldest that can be read"), "upgrade the server")
        }
        Some((Flavor::Mariadb, _)) => Verdict::ok("version", format!("MariaDB {text}")),
        Some((Flavor::Mysql, _)) => Verdict::ok("version", format!("MySQL {text}")),
    }
}

/// Judges the values of [`variables`].
pub(crate) fn judge_variables(flavor: Flavor, mode: PositionMode, value: impl Fn(&str) -> String) -> Vec<Verdict> {
    let section = match flavor {
        Flavor::Mariadb => "[mariadbd]",
        Flavor::Mysql => "[mysqld]",
    };
    let must = |name: &str, wanted: &[&str], remedy: &str| {
        let found = value(name);
        if wanted.iter().any(|w| w.eq_ignore_ascii_case(&found)) {
            return Verdict::ok(name, format!("{name} is {found}"));
        }
        let message = format!("{name} is {found}, not {}", wanted[0]);
        Verdict::wrong(name, Code::SourceSetting, message, remedy)
    };
    let in_file = |line: &str| format!("put `{line}` under {section} of the server's configuration and restart it");
    let mut verdicts = vec![
        must("log_bin", &["ON", "1"], &in_file("log_bin")),
        must("binlog_format", &["ROW"], "SET GLOBAL binlog_format=ROW"),
        must("binlog_row_image", &["FULL"], "SET GLOBAL binlog_row_image=FULL"),
        must("binlog_row_metadata", &["FULL"], "SET GLOBAL binlog_row_metadata=FULL"),
        must("binlog_checksum", &["CRC32"], "SET GLOBAL binlog_checksum=CRC32"),
    ];
    match flavor {
        Flavor::Mariadb => {
            // A server that has never replicated has nothing to pass on.
            if !value("gtid_slave_pos").is_empty() {
                verdicts.push(must("log_slave_updates", &["ON", "1"], &in_file("log_slave_updates")));
            }
        }
        Flavor::Mysql => {
            verdicts.push(must("binlog_row_value_options", &[""], "SET GLOBAL binlog_row_value_options=''"));
            verdicts.push(must("log_replica_updates", &["ON", "1"], &in_file("log_replica_updates")));
            verdicts.push(judge_gtid_mode(mode, &value("gtid_mode")));
        }
    }
    for verdict in &mut verdicts {
        // Without checksums damage goes unseen, and a replica that does not log what it replicates hides it; neither is
        // wrong on every server.
        let lesser = ["binlog_checksum", "log_slave_updates", "log_replica_updates"];
        if verdict.level == Level::Error && lesser.contains(&verdict.subject.as_str()) {
            *verdict = verdict.clone().warning();
        }
    }
    if value("server_id") == "0" {
        let (message, remedy) = ("server_id is 0".to_owned(), in_file("server_id = 1"));
        verdicts.push(Verdict::wrong("server_id", Code::SourceSetting, message, &remedy));
    }
    verdicts
}

/// Without GTIDs a position means something on one server only.
fn judge_gtid_mode(mode: PositionMode, found: &str) -> Verdict {
    if found == "ON" || mode == PositionMode::File {
        return Verdict::ok("gtid_mode", format!("gtid_mode is {found}"));
    }
    let steps = "SET GLOBAL enforce_gtid_consistency=ON; SET GLOBAL gtid_mode=OFF_PERMISSIVE; \
                 SET GLOBAL gtid_mode=ON_PERMISSIVE; SET GLOBAL gtid_mode=ON";
    let message = format!("gtid_mode is {found}: the position is file and offset, and cannot move to another server");
    let verdict = Verdict::wrong("gtid_mode", Code::SourceSetting, message, steps);
    if mode == PositionMode::Gtid { verdict } else { verdict.warning() }
}

/// Judges a document's patterns at a server that keeps names in lower case: one in upper case would leave nothing out, or
/// let nothing through, and nobody would know.
pub(super) fn judge_names(source: &Source) -> Verdict {
    let name = "lower_case_table_names";
    let Some((pattern, meant)) = misspelled(source) else {
        return Verdict::ok(name, "names are kept in lower case, and statements read so".to_owned());
    };
    let message = format!("the server keeps names in lower case, so that no table can match {pattern}");
    Verdict::wrong(name, Code::SourceSetting, message, &format!("write {meant} into the source's document"))
}

/// Judges the lines of SHOW GRANTS for `user`, as the server spells it, active roles included.
pub(crate) fn judge_grants(flavor: Flavor, lines: &[String], user: &str) -> Vec<Verdict> {
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
    let monitoring = match flavor {
        Flavor::Mariadb => "BINLOG MONITOR",
        Flavor::Mysql => "REPLICATION CLIENT",
    };
    let select = grants.iter().any(|g| g.holds(&["SELECT"]));
    vec![
        verdict("REPLICATION SLAVE", slave, format!("GRANT REPLICATION SLAVE ON *.* TO {user}")),
        verdict(monitoring, monitor, format!("GRANT {monitoring} ON *.* TO {user}")),
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
        assert_eq!(version("10.11.6-MariaDB-0+deb12u1-log"), Some((Flavor::Mariadb, (10, 11, 6))));
        assert_eq!(version("5.5.5-10.4.1-MariaDB"), Some((Flavor::Mariadb, (10, 4, 1))));
        assert_eq!(version("9.7.4-2"), Some((Flavor::Mysql, (9, 7, 4))));
        for wrong in ["10.4.30-MariaDB", "5.7.44-log", "8.0.25", "8.0.11-TiDB-v8.5.0", "?"] {
            assert_eq!(judge_version(wrong).level, Level::Error, "{wrong}");
        }
        for fit in ["11.4.2-MariaDB", "8.0.36-28", "9.7.4-2"] {
            assert_eq!(judge_version(fit).level, Level::Ok, "{fit}");
        }
    }

    fn variables(changed: &'static str, to: &'static str) -> impl Fn(&str) -> String {
        move |name| {
            let usual = match name {
                "binlog_format" => "ROW",
                "binlog_row_image" | "binlog_row_metadata" => "FULL",
                "binlog_checksum" => "CRC32",
                "gtid_slave_pos" | "binlog_row_value_options" => "",
                "gtid_mode" => "ON",
                _ => "1",
            };
            (if name == changed { to } else { usual }).to_owned()
        }
    }

    fn judge(value: impl Fn(&str) -> String) -> Vec<Verdict> {
        judge_variables(Flavor::Mariadb, PositionMode::Auto, value)
    }

    #[test]
    fn variables_of_mysql_are_judged_by_its_names() {
        let judge = |mode, name, to| judge_variables(Flavor::Mysql, mode, variables(name, to));
        let level = |verdicts: Vec<Verdict>| verdicts.iter().map(|v| v.level).max();
        assert_eq!(level(judge(PositionMode::Auto, "", "")), Some(Level::Ok));
        let partial = judge(PositionMode::Auto, "binlog_row_value_options", "PARTIAL_JSON");
        let wrong: Vec<_> = partial.iter().filter(|v| v.level == Level::Error).collect();
        assert_eq!(wrong[0].remedy, "SET GLOBAL binlog_row_value_options=''");
        assert_eq!(level(judge(PositionMode::Auto, "gtid_mode", "OFF_PERMISSIVE")), Some(Level::Warning));
        assert_eq!(level(judge(PositionMode::Gtid, "gtid_mode", "OFF")), Some(Level::Error));
        assert_eq!(level(judge(PositionMode::File, "gtid_mode", "OFF")), Some(Level::Ok));
        assert_eq!(level(judge(PositionMode::Auto, "log_replica_updates", "0")), Some(Level::Warning));
    }

    #[test]
    fn each_wrong_variable_is_named_with_its_remedy() {
        assert!(judge(variables("", "")).iter().all(|v| v.level == Level::Ok));
        for (name, value, remedy) in [
            ("binlog_format", "STATEMENT", "SET GLOBAL binlog_format=ROW"),
            ("binlog_row_image", "MINIMAL", "SET GLOBAL binlog_row_image=FULL"),
            ("binlog_row_metadata", "NO_LOG", "SET GLOBAL binlog_row_metadata=FULL"),
        ] {
            let verdicts = judge(variables(name, value));
            let wrong: Vec<_> = verdicts.iter().filter(|v| v.level == Level::Error).collect();
            assert_eq!(wrong.len(), 1, "{name}");
            assert_eq!(wrong[0].remedy, remedy);
            assert!(wrong[0].error().to_string().starts_with("OT3002"), "{}", wrong[0].error());
        }
        let replica = |name: &str| {
            variables("log_slave_updates", "0")(name) + if name == "gtid_slave_pos" { "0-1-1" } else { "" }
        };
        assert!(judge(replica).iter().any(|v| v.level == Level::Warning && v.subject == "log_slave_updates"));
        let verdicts = judge(variables("binlog_checksum", "NONE"));
        assert!(verdicts.iter().any(|v| v.level == Level::Warning) && verdicts.iter().all(|v| v.level != Level::Error));
    }

    #[test]
    fn grants_of_mysql_are_named_as_it_names_them() {
        let lines = [
            "GRANT REPLICATION SLAVE ON *.* TO `otter`@`%`",
            "GRANT `reader`@`%` TO `otter`@`%`",
            "GRANT XA_RECOVER_ADMIN ON *.* TO `otter`@`%`",
            "GRANT SELECT ON `shop`.* TO `otter`@`%`",
        ];
        let lines = lines.map(str::to_owned);
        let wrong: Vec<_> = judge_grants(Flavor::Mysql, &lines, "`otter`@`%`");
        let wrong: Vec<_> = wrong.iter().filter(|v| v.level == Level::Error).map(|v| v.remedy.as_str()).collect();
        assert_eq!(wrong, ["GRANT REPLICATION CLIENT ON *.* TO `otter`@`%`"]);
    }

    fn missing(lines: &[&str]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        judge_grants(Flavor::Mariadb, &lines, "`otter`@`%`")
            .into_iter()
            .filter(|v| v.level == Level::Error)
            .map(|v| v.remedy)
            .collect()
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
