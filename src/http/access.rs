//! The access log: one line of JSON for each answer.

use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::Time;
use crate::model::json::to_ascii_line;
use crate::model::task::object;

/// Where the lines go, if anywhere.
pub struct Access(Option<Mutex<Box<dyn Write + Send>>>);

/// One answer.
pub struct Line<'a> {
    /// When it was given.
    pub time: Time,
    /// The method as it was sent.
    pub method: &'a str,
    /// The path as it was sent, without its query, which may hold what is nobody's business.
    pub path: &'a str,
    /// The status.
    pub status: u16,
    /// From the whole request to the answer.
    pub took: Duration,
    /// Bytes of the body.
    pub bytes: usize,
}

impl Access {
    /// A log that goes to `writer`.
    pub fn new(writer: Option<Box<dyn Write + Send>>) -> Self {
        Self(writer.map(Mutex::new))
    }

    /// Writes one line. A log that cannot be written is no reason not to serve.
    pub fn write(&self, line: &Line<'_>) {
        let Some(writer) = &self.0 else { return };
        let object = object([
            ("time", line.time.to_string().into()),
            ("method", line.method.into()),
            ("path", line.path.into()),
            ("status", line.status.into()),
            ("seconds", line.took.as_secs_f64().into()),
            ("bytes", line.bytes.into()),
        ]);
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writer.write_all(to_ascii_line(&object).as_bytes()).and_then(|()| writer.flush());
    }
}
