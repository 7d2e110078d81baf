//! Names and versions: what is accepted keeps the promise that it can stand in an argument and a column.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redflag_core::names::{Arch, Manager, PackageName, Text, Version};

fuzz_target!(|text: &str| {
    for manager in ["apt", "dnf", "docker", "other"] {
        let manager = Manager::parse(manager).expect("a manager");
        if let Ok(name) = PackageName::parse_for(&manager, text) {
            let name = name.as_str();
            assert!(name == text && !name.starts_with('-') && name.bytes().all(|byte| byte.is_ascii_graphic()), "{name:?}");
        }
        if let Ok(version) = Version::parse_for(&manager, "version", text) {
            assert!(version.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{version:?}");
        }
    }
    let _ = Manager::parse(text);
    let _ = Arch::parse(text);
    assert!(!Text::lossy(text).as_str().contains('\0'));
});
