//! What a failed statement means, decided once, where the driver's error is first seen.
//!
//! Server messages quote values of the row. Nothing of a row may reach a log but its key, so messages are cut to the
//! part that names a column, a key or a constraint (`safe_text`); the driver's error is kept as a source only for
//! errors that cannot speak about a row.

use mysql_async::DriverError;
use schemas::{Code, Error};

/// What a failed statement means for its connection and transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is gone or in an unknown state, and with it the outcome of the last statement.
    Lost,
    /// Deadlock, lock wait, read-only, shutdown, disk full: roll back and try again later.
    Busy,
    /// A unique key has the value already (1062).
    Duplicate,
    /// The statement itself was refused: a value, a column, a privilege.
    Refused,
}

/// A failed statement.
#[derive(Debug)]
pub struct Failure {
    /// What it means.
    pub fault: Fault,
    /// What to tell people; free of row values.
    pub error: Error,
}

impl Failure {
    /// The connection is lost; `what` says how.
    pub fn lost(what: impl Into<String>) -> Self {
        Self { fault: Fault::Lost, error: Error::new(Code::TargetUnreachable, what) }
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Self {
        let mysql_async::Error::Server(server) = &error else {
            return Self {
                fault: Fault::Lost,
                error: Error::new(Code::TargetUnreachable, broken(&error)).with_source(error),
            };
        };
        let (fault, code) = classify(server.code);
        let text =
            format!("server error {} ({}){}", server.code, server.state, safe_text(server.code, &server.message));
        let out = Error::new(code, text);
        let quotes_rows = fault == Fault::Duplicate || code == Code::TargetRefused;
        Self { fault, error: if quotes_rows { out } else { out.with_source(error) } }
    }
}

/// What an error says that is no answer of the server.
fn broken(error: &mysql_async::Error) -> String {
    match error {
        // MySQL asks users that it does not have for a method that it draws by lot, so that nobody learns who there is.
        mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { name }) => {
            format!("the target asks for a password by {name}, which Otter does not know; is there such a user?")
        }
        _ => "the connection to the target broke off".to_owned(),
    }
}

/// Fault and code of a server error number.
fn classify(number: u16) -> (Fault, Code) {
    match number {
        1062 | 1586 | 1859 => (Fault::Duplicate, Code::RowExists),
        // lock wait, deadlock, snapshot conflict, killed query, time limits, table changed or re-prepared meanwhile
        1205 | 1213 | 1020 | 1317 | 1969 | 3024 | 1412 | 1615 | 1637
        // disk full, table full, memory, too many locks, read-only, cluster node not ready, thread start
        | 1021 | 1114 | 1037 | 1038 | 1041 | 1206 | 1290 | 1836 | 1792 | 1047 | 1135 => (Fault::Busy, Code::TargetBusy),
        // shutdown, killed, network, lost, too large a packet (the server closes), commit or rollback failed
        1053 | 1927 | 1152 | 1153 | 1158..=1161 | 1180 | 1181 | 1077..=1079 | 3169 | 4031 => {
            (Fault::Lost, Code::TargetUnreachable)
        }
        1044 | 1142 | 1143 | 1227 | 1370 => (Fault::Refused, Code::TargetGrant),
        // unknown database, table, column, view; wrong table type
        1049 | 1146 | 1054 | 1051 | 1347 | 1176 => (Fault::Refused, Code::TargetTable),
        _ => (Fault::Refused, Code::TargetRefused),
    }
}

/// The part of a server message that names things but quotes no value of a row, with a leading separator.
fn safe_text(number: u16, message: &str) -> String {
    let from = |marker: &str| message.rfind(marker).map(|at| format!(":{}", &message[at..])).unwrap_or_default();
    match number {
        1062 | 1586 => format!(": duplicate entry{}", from(" for key ").replacen(':', "", 1)),
        // incorrect value, truncated, incorrect string, incorrect datetime
        1265 | 1292 | 1366 => from(" for column "),
        // out of range, too long, NULL, no default, CHECK constraint, foreign key, and everything about no row at all
        // a character that a column's charset lacks (MySQL, which then names the collations)
        1264 | 1406 | 1048 | 1364 | 4025 | 3819 | 3988 | 1205 | 1213 | 1044 | 1049 | 1051 | 1054 | 1142 | 1143
        | 1146 | 1153 | 1227 | 1290 | 1347 | 1792 | 1836 | 1053 | 1927 | 1969 | 3024 | 1114 => format!(": {message}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16, message: &str) -> Failure {
        let error = mysql_async::ServerError { code, message: message.into(), state: "HY000".into() };
        Failure::from(mysql_async::Error::Server(error))
    }

    #[test]
    fn values_of_rows_do_not_show() {
        let failure = server(1062, "Duplicate entry 'secret for key 'x'' for key 'mail'");
        assert_eq!(failure.fault, Fault::Duplicate);
        assert_eq!(failure.error.message(), "server error 1062 (HY000): duplicate entry for key 'mail'");
        let failure = server(1366, "Incorrect string value: '\\xF0' for column `a`.`b`.`c` at row 1");
        assert_eq!(failure.error.message(), "server error 1366 (HY000): for column `a`.`b`.`c` at row 1");
        assert_eq!(server(1411, "Incorrect value: 'secret'").error.message(), "server error 1411 (HY000)");
        assert!(std::error::Error::source(&failure.error).is_none());
    }

    #[test]
    fn kinds() {
        assert_eq!(server(1213, "Deadlock").fault, Fault::Busy);
        assert_eq!(server(1205, "Lock").error.code(), Code::TargetBusy);
        assert_eq!(server(1146, "no table").error.code(), Code::TargetTable);
        assert_eq!(server(1264, "out of range").fault, Fault::Refused);
        let driver = |error| Failure::from(mysql_async::Error::Driver(error));
        assert_eq!(driver(DriverError::ConnectionClosed).fault, Fault::Lost);
        let asked = driver(DriverError::UnknownAuthPlugin { name: "sha256_password".to_owned() });
        assert_eq!(asked.fault, Fault::Lost);
        assert!(asked.error.message().contains("sha256_password"), "{}", asked.error);
    }
}
