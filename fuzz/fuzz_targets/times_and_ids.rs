//! Times, days and ids: what is read is written the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::{ids::{AgentId, Digest, UpdateId}, time::Timestamp};

fuzz_target!(|text: &str| {
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse::<Timestamp>().expect("it reads back"), time);
    }
    if let Ok(id) = text.parse::<AgentId>() {
        assert_eq!(id.to_string().parse::<AgentId>().expect("it reads back"), id);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse::<Digest>().expect("it reads back"), digest);
    }
    if let Ok(id) = text.parse::<UpdateId>() {
        assert_eq!(id.to_string().parse::<UpdateId>().expect("it reads back"), id);
    }
});
