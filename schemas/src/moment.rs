//! A moment as people write it: RFC 3339 with its offset, `2026-11-22T13:00:00Z`; kept in milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::codes::Code;
use crate::error::Error;

/// Milliseconds since 1970 UTC, from year 1 to 9999. Text: RFC 3339; printed in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(i64);

impl Moment {
    /// From milliseconds since 1970 UTC; beyond the years 1 to 9999, the nearest moment within.
    pub fn from_ms(ms: i64) -> Self {
        // A second within jiff's limits, whose last milliseconds it does not take.
        Self(ms.clamp(jiff::Timestamp::MIN.as_millisecond() + 1000, jiff::Timestamp::MAX.as_millisecond() - 1000))
    }

    /// By this machine's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Milliseconds since 1970 UTC.
    pub fn ms(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{} ms", self.0), // excluded by `from_ms`
        }
    }
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        let timestamp: jiff::Timestamp = s.trim().parse().map_err(|e| {
            let message = format!("{s:?} is not a time like 2026-11-22T13:00:00Z or 2026-11-22T14:00:00.250+01:00");
            Error::new(Code::DocumentInvalid, message).with_source(e)
        })?;
        Ok(Self::from_ms(timestamp.as_millisecond()))
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse().map_err(|e: Error| e.message().to_owned())
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "string", "format": "date-time"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_printed() {
        for (text, ms, printed) in [
            ("1970-01-01T00:00:01.5Z", 1500, "1970-01-01T00:00:01.500Z"),
            ("2026-11-22T14:00:00.250+01:00", 1_795_352_400_250, "2026-11-22T13:00:00.250Z"),
            ("1969-12-31T23:59:59.999Z", -1, "1969-12-31T23:59:59.999Z"),
        ] {
            let moment: Moment = text.parse().unwrap();
            assert_eq!((moment.ms(), moment.to_string().as_str()), (ms, printed), "{text}");
            assert_eq!(printed.parse::<Moment>().unwrap(), moment);
        }
        for wrong in ["", "yesterday", "2026-11-22", "2026-11-22T13:00:00", "2026-13-22T13:00:00Z"] {
            assert_eq!(wrong.parse::<Moment>().unwrap_err().code(), Code::DocumentInvalid, "{wrong}");
        }
        for ms in [i64::MIN, i64::MAX] {
            let moment = Moment::from_ms(ms);
            assert_eq!(moment.to_string().parse::<Moment>().unwrap(), moment);
        }
    }
}
