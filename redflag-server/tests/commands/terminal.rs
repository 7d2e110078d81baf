//! A password typed at a terminal: what the terminal shows, and how it is left.

use crate::fleet::{Place, Serving};
use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use serde_json::json;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

const PASSWORD: &str = "correct horse battery";
/// Longest wait for words on the terminal.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with somebody in front of it.
struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// All it has shown.
    shown: String,
    /// Where programs sit.
    programs: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let programs = open(ptsname(&master, Vec::new()).unwrap(), OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let keyboard = File::from(master);
        let (mut reader, (sender, screen)) = (keyboard.try_clone().unwrap(), sync_channel(64));
        thread::spawn(move || {
            let mut buffer = [0; 1_024];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keyboard, screen, shown: String::new(), programs }
    }

    /// Sets a password for `ada` here.
    fn ask_for_password(&self, place: &Place) -> Child {
        let seat = || Stdio::from(self.programs.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_redflag-server"));
        command.args(["account", "password", "ada", "--database"]).arg(place.path("fleet.db"));
        command.env("REDFLAG_LOG", "warn").stdin(seat()).stdout(seat()).stderr(seat()).spawn().unwrap()
    }

    fn shows(&mut self, words: &str) {
        while !self.shown.contains(words) {
            let more = self.screen.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("the terminal never shows {words:?}: {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Whether it shows what is typed, and a key interrupts.
    fn is_as_ever(&self) -> bool {
        tcgetattr(&self.programs).unwrap().local_modes.contains(LocalModes::ECHO | LocalModes::ISIG)
    }
}

fn place_with_ada() -> Place {
    let place = Place { directory: tempfile::tempdir().unwrap() };
    drop(Serving::start(&place.path("fleet.db")));
    place.run("fleet.db", &["account", "add", "ada", "--role", "viewer"]).success();
    place
}

fn has_password(place: &Place) -> bool {
    place.json("fleet.db", &["account", "list"])["accounts"][0]["has_password"] == json!(true)
}

#[test]
fn a_password_is_not_shown_while_it_is_typed() {
    let (place, mut terminal) = (place_with_ada(), Terminal::new());
    assert!(terminal.is_as_ever(), "before, it shows what is typed");
    let mut asking = terminal.ask_for_password(&place);
    terminal.shows("New password of ada: ");
    terminal.types(&format!("{PASSWORD}\n"));
    terminal.shows("The same again: ");
    terminal.types(&format!("{PASSWORD}\n"));
    assert!(asking.wait().unwrap().success());
    assert!(has_password(&place));
    // What is typed now is shown again, so all that was shown before it has been read.
    assert!(terminal.is_as_ever());
    terminal.types("seen again");
    terminal.shows("seen again");
    assert!(!terminal.shown.contains("horse"), "{}", terminal.shown);
}

#[test]
fn what_is_typed_differently_or_broken_off_sets_nothing_and_leaves_the_terminal_as_it_was() {
    let (place, mut terminal) = (place_with_ada(), Terminal::new());
    let mut asking = terminal.ask_for_password(&place);
    terminal.shows("New password of ada: ");
    terminal.types(&format!("{PASSWORD}\n"));
    terminal.shows("The same again: ");
    terminal.types("correct horse buttery\n");
    terminal.shows("the two are not the same");
    assert_eq!(asking.wait().unwrap().code(), Some(1));
    assert!(terminal.is_as_ever());

    for keys in ["\x03", "half a pass\x03"] {
        terminal.shown.clear();
        let mut asking = terminal.ask_for_password(&place);
        terminal.shows("New password of ada: ");
        terminal.types(keys);
        terminal.shows("interrupted");
        assert_eq!(asking.wait().unwrap().code(), Some(1));
        assert!(terminal.is_as_ever(), "after {keys:?}");
        assert!(!terminal.shown.contains("half"), "{}", terminal.shown);
    }
    assert!(!has_password(&place));
}
