//! What an installation prints while it runs, for whoever watches. Nothing waits for the watcher, and only the end is kept.

use crate::install::OUTPUT_BYTES_MAX;
use std::sync::{Arc, Mutex};

/// Where an installation prints; cheap to clone. The default one is read by nobody.
#[derive(Clone, Debug, Default)]
pub struct Printed(Arc<Mutex<End>>);

/// The end of what was printed.
#[derive(Debug, Default)]
struct End {
    bytes: Vec<u8>,
    /// How many bytes were dropped before it.
    dropped: u64,
}

impl Printed {
    /// Prints a line.
    pub fn line(&self, line: &str) {
        self.add(line.as_bytes());
        self.add(b"\n");
    }

    /// Prints some bytes, whole characters or not.
    pub(crate) fn add(&self, bytes: &[u8]) {
        let mut end = self.0.lock().expect("nothing panics under this lock");
        end.bytes.extend_from_slice(bytes);
        // Twice as many before any are thrown away, so that not every write moves them.
        if end.bytes.len() >= 2 * OUTPUT_BYTES_MAX {
            let surplus = end.bytes.len() - OUTPUT_BYTES_MAX;
            end.bytes.drain(..surplus);
            end.dropped += surplus as u64;
        }
    }

    /// What follows the first `read` bytes, in whole characters; moves `read` behind it.
    #[cfg(feature = "executor")]
    pub(crate) fn more(&self, read: &mut u64) -> Option<String> {
        let end = self.0.lock().expect("nothing panics under this lock");
        let from = end.dropped.max(*read);
        let bytes = end.bytes.get(usize::try_from(from - end.dropped).ok()?..)?;
        // A character of which a part is still to come stays behind.
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
            _ => bytes,
        };
        if whole.is_empty() {
            return None;
        }
        let gap = if from > *read { "[a part is missing]\n" } else { "" };
        *read = from + whole.len() as u64;
        Some(gap.to_owned() + &String::from_utf8_lossy(whole))
    }
}

#[cfg(all(test, feature = "executor"))]
mod tests {
    use super::*;

    #[test]
    fn characters_come_whole_and_what_is_gone_is_told() {
        let (printed, mut read) = (Printed::default(), 0);
        let mut more = || printed.more(&mut read);
        assert_eq!(more(), None);
        printed.add(b"caf\xc3");
        assert_eq!(more().unwrap(), "caf");
        assert_eq!(more(), None, "half a character");
        printed.add(b"\xa9\xff!");
        assert_eq!(more().unwrap(), "é\u{fffd}!");
        printed.add(&b"x".repeat(2 * OUTPUT_BYTES_MAX));
        let text = more().unwrap();
        assert!(text.starts_with("[a part is missing]\nx") && text.len() < OUTPUT_BYTES_MAX + 32, "{}", text.len());
        assert_eq!((more(), read), (None, 7 + 2 * OUTPUT_BYTES_MAX as u64));
    }
}
