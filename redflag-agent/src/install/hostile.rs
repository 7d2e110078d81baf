//! Names and versions nobody should believe, for the tests of the arguments of package managers.

use super::InstallError;
use crate::simulation::random::Random;
use redflag_core::{
    command::plan::Item,
    names::{Arch, Manager, PackageKey, PackageName, Version},
};

/// Words that some package manager takes for more than a name or a version.
pub(crate) const WORDS: &[&str] = &[
    "-oAPT::Update::Pre-Invoke::=touch /tmp/x",
    "-oAPT::X=1",
    "--allow-downgrades",
    "--nogpgcheck",
    "-",
    "--",
    "wget-",
    "foo+",
    "g++",
    "pkg=1",
    "pkg/sid",
    "pkg:any",
    "pkg:native",
    "task^",
    "^lib.*",
    "lib.*$",
    "./x.deb",
    "x.deb",
    "/x.deb",
    "~nbash",
    "?name(bash)",
    "@core",
    "@module:stream",
    "nodejs:18",
    "*",
    "foo*",
    "fo?",
    "[a-z]*",
    "(a or b)",
    "foo >= 1",
    "foo>=1",
    "https://h/x.rpm",
    "file:///x.rpm",
    "../x.rpm",
    "x.rpm",
    "/usr/bin/sh",
    "libfoo.so.1()(64bit)",
    "; reboot",
    "$(id)",
    "`id`",
    "|",
    "&",
    "a\nb",
    "a\0b",
    "оpenssl",
    "",
    "1.0-1-",
    "1.0-1+",
    "1:1:1",
    "-1:1",
    "4294967296:1",
    ":1",
    "1:",
    "1.0^git1",
    "1.0~rc1",
    "bash",
    "2.0-1",
    "1:0.9~rc1-1",
    "x86_64",
    "amd64",
    "noarch",
    "src",
];

/// Characters with a meaning to some tool, and plain ones.
const CHARACTERS: &[&str] = &[
    "a", "b", "z", "A", "0", "1", "9", "+", "-", ".", "~", "^", ":", "=", "/", "*", "?", "[", "]", "(", ")", "@", "_", " ", "\t", "\n",
    "\0", "$", "`", ";", "|", "&", "<", ">", "'", "\"", "\\", "{", "}", "!", "#", "%", ",", "é", "о", "\u{202e}", "\u{fffd}",
];

/// A word of the list, changed in a few places, or one made of nothing but odd characters, or a plain one.
fn word(random: &mut Random) -> String {
    let mut word = match random.below(8) {
        0 => String::new(),
        1..=4 => format!("{}{}", random.one_of(&["bash", "lib1.2+b3-", "1.0-1", "2:3.4~rc1-5"]), random.below(1_000)),
        _ => random.one_of(WORDS).to_owned(),
    };
    // A word is left as it is in every second case.
    for _ in 0..random.below(6).saturating_sub(2) {
        spoil(random, &mut word);
    }
    word
}

/// Puts an odd character somewhere near the start of a word, or at its end.
pub(crate) fn spoil(random: &mut Random, word: &mut String) {
    let at = word.char_indices().map(|(at, _)| at).nth(usize::try_from(random.below(8)).unwrap()).unwrap_or(word.len());
    word.insert_str(at, random.one_of(CHARACTERS));
}

/// The item, where core lets these words be a name and a version at all.
fn item(manager: &str, name: &str, arch: &str, from: &str, to: &str) -> Option<Item> {
    Some(Item {
        package: PackageKey {
            manager: Manager::parse(manager).ok()?,
            name: PackageName::parse(name).ok()?,
            arch: if arch.is_empty() { None } else { Some(Arch::parse(arch).ok()?) },
        },
        from: Version::parse(from).ok()?,
        to: Version::parse(to).ok()?,
        origin: None,
    })
}

/// Builds the argument of `count` generated items and of every pair of words of the list, and insists that `kept` holds for each
/// that is built. How many were built and refused is printed: both must happen.
pub(crate) fn check(
    manager: &str,
    arch: &str,
    count: usize,
    build: fn(&[Item]) -> Result<Vec<String>, InstallError>,
    kept: fn(&str) -> bool,
) {
    let (mut built, mut refused) = (0_u64, 0_u64);
    let mut check = |name: &str, arch: &str, to: &str| {
        // Both ways round, so that the order of the versions refuses one of them only.
        for (from, to) in [("0-0", to), (to, "99999:0-0")] {
            match item(manager, name, arch, from, to).map(|item| build(&[item])) {
                Some(Ok(words)) => {
                    built += 1;
                    assert!(words.len() == 1 && kept(&words[0]), "{name:?} {arch:?} {to:?} became {words:?}");
                }
                Some(Err(InstallError::Grammar { .. })) | None => refused += 1,
                Some(Err(error)) => panic!("{name:?} {arch:?} {to:?}: {error}"),
            }
        }
    };
    for name in WORDS {
        for other in WORDS {
            check(name, arch, other);
            check(name, other, "1.0-1");
        }
    }
    let mut random = Random::strand(20_261_125, &[]);
    for _ in 0..count {
        let (name, version) = (word(&mut random), word(&mut random));
        let arch = if random.chance(90) { arch.to_owned() } else { word(&mut random) };
        check(&name, &arch, &version);
    }
    println!("{manager}: {built} arguments built, {refused} refused");
    assert!(built > 1_000 && refused > 1_000);
}

/// `count` items of generated names and versions, as core lets them be.
pub(crate) fn items(manager: &str, arch: &str, count: usize) -> Vec<Item> {
    let mut random = Random::strand(20_261_126, &[]);
    let from = "0-0";
    std::iter::repeat_with(|| item(manager, &word(&mut random), arch, from, &word(&mut random))).flatten().take(count).collect()
}
