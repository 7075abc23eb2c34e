//! What is told of a finished job to other programs: the lines of `--json`, and `status.json`.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::json::Text;
use crate::outcome::Outcome;

/// A finished job.
#[derive(Serialize)]
pub(crate) struct Record<'a> {
    /// From 1, in the order of the values.
    pub(crate) job: u64,
    #[serde(serialize_with = "texts")]
    pub(crate) values: &'a [OsString],
    /// As one would type it into a shell.
    pub(crate) command: &'a str,
    pub(crate) outcome: Outcome,
    /// The exit status, if the program ended by itself.
    pub(crate) exit: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Why there is neither.
    pub(crate) error: Option<&'a str>,
    pub(crate) attempts: u32,
    /// In seconds since 1970.
    #[serde(serialize_with = "epoch")]
    pub(crate) started: Option<SystemTime>,
    #[serde(serialize_with = "seconds")]
    pub(crate) seconds: Option<Duration>,
    /// Processor time of all its processes, in seconds.
    #[serde(serialize_with = "seconds")]
    pub(crate) cpu_seconds: Option<Duration>,
    /// The largest memory of one of its processes, in bytes.
    pub(crate) memory_bytes_max: Option<u64>,
    /// Where its output is, if that is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) results: Option<Text<'a>>,
}

fn texts<S: Serializer>(values: &&[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| Text::of(value)))
}

fn epoch<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    seconds(&since, serializer)
}

fn seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    // Microseconds are all that a clock means.
    time.map(|time| (time.as_secs_f64() * 1e6).round() / 1e6).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_record_has_plain_names_and_loses_no_byte() {
        let record = Record {
            job: 3,
            values: &["a b".into(), OsStr::from_bytes(b"\xff").to_owned()],
            command: r"cat 'a b' $'\xff'",
            outcome: Outcome::LimitReached,
            exit: None,
            signal: Some(15),
            error: None,
            attempts: 2,
            started: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
            seconds: Some(Duration::from_nanos(250_000_400)),
            cpu_seconds: None,
            memory_bytes_max: Some(4096),
            results: None,
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            concat!(
                r#"{"job":3,"values":["a b",{"base64":"/w=="}],"command":"cat 'a b' $'\\xff'","#,
                r#""outcome":"limit-reached","exit":null,"signal":15,"error":null,"attempts":2,"#,
                r#""started":1.5,"seconds":0.25,"cpu_seconds":null,"memory_bytes_max":4096}"#
            )
        );
    }
}
