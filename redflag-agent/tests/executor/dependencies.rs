//! What the part that is root is built from. A new crate in it is a decision, not an accident.

use std::{collections::BTreeSet, process::Command};

/// The runtime and its HTTP (to the container engine) are the larger part; then signatures, JSON, TOML, times.
const CRATES: &str = "
    atomic-waker base64 bitflags block-buffer bytes cfg-if const-oid cpufeatures crc32c crypto-common curve25519-dalek
    digest ed25519 ed25519-dalek errno foldhash futures-core getrandom glob hashbrown http http-body http-body-util
    httparse httpdate hybrid-array hyper hyper-util itoa jiff jiff-core lexopt libc linux-raw-sys listenfd memchr mio
    once_cell percent-encoding pin-project-lite rand_core redflag-agent redflag-core rpm-version rustix semver serde serde_core
    serde_json serde_spanned sha2 signal-hook-registry signature smallvec socket2 subtle thiserror tokio toml
    toml_datetime toml_parser tracing tracing-core try-lock typenum uuid want winnow zeroize zmij
";

#[test]
fn the_executor_alone_is_built_from_these_crates() {
    let arguments = ["tree", "--offline", "--locked", "-p", "redflag-agent", "--no-default-features", "--features", "executor"];
    let further = ["-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"];
    let output = Command::new(env!("CARGO")).args(arguments).args(further).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let found: BTreeSet<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(found, CRATES.split_whitespace().collect());
    for never in ["reqwest", "rustls", "clap", "tracing-subscriber"] {
        assert!(!found.contains(never), "{never}");
    }
}
