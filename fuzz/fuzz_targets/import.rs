//! Lines of an export, taken into an empty fleet: whatever they are, taken or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::{Fleet, MemoryStore, export::Importer};

fuzz_target!(|text: &str| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let fleet = Fleet::new(MemoryStore::new());
        let mut importer = Importer::new(&fleet).await.expect("the fleet is empty");
        for line in text.lines() {
            if importer.line(line).await.is_err() {
                break;
            }
        }
        let _ = importer.finish();
    });
});
