//! The payload of a command: what is read is within the limits and written the same way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::{command::payload::Command, limits};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = Command::read(bytes) {
        assert_eq!(command.to_bytes(), bytes);
        assert!(command.check().is_ok());
        assert!(command.action.items().len() <= limits::COMMAND_ITEMS_MAX);
    }
});
