//! Names, versions and texts: parsed once at the edge, trusted inside.
//!
//! What these types accept, every backend can store (clause B13): no NUL, bounded length, valid UTF-8; names and versions are
//! printable ASCII. The grammar of `apt` names and versions is that of deb-control(5) and deb-version(7); that of `dnf` is the
//! set of characters rpm allows in a NEVRA. Other managers get the general grammar.

use crate::{
    limits,
    rejection::{Rejection, RejectionCode, quoted},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, cmp::Ordering, fmt, str::FromStr, sync::Arc};

macro_rules! shared_str {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

macro_rules! parsed_on_reading {
    ($($name:ident),+) => {$(
        impl FromStr for $name {
            type Err = Rejection;

            fn from_str(text: &str) -> Result<Self, Rejection> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    )+};
}

shared_str! {
    /// A source of updates on a host: `apt`, `dnf`, `docker`, …: one lower-case letter, then letters, digits, `.`, `_`, `-`.
    Manager
}
shared_str! {
    /// The name of a package within its manager.
    PackageName
}
shared_str! {
    /// A package's architecture, in the manager's own words.
    Arch
}
shared_str! {
    /// A version in the manager's own form; compared by [`crate::version_order::compare`], never as text (clause S9).
    Version
}
shared_str! {
    /// A short free text of at most [`limits::TEXT_BYTES_MAX`] bytes without NUL. Anything else may stand in it: pages escape it.
    Text
}
parsed_on_reading!(Manager, PackageName, Arch, Version, Text);

/// Debian's package manager.
pub const APT: &str = "apt";
/// The package manager of Fedora and its relatives.
pub const DNF: &str = "dnf";
/// Container images.
pub const DOCKER: &str = "docker";

fn bounded(field: &str, text: &str, bytes_max: usize) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(Rejection::new(RejectionCode::Empty, field, "must not be empty"));
    }
    if text.len() > bytes_max {
        let message = format!("{} bytes, more than the limit of {bytes_max}: {}", text.len(), quoted(text));
        return Err(Rejection::new(RejectionCode::TooLong, field, message));
    }
    Ok(())
}

/// Refuses everything but printable ASCII; a space is refused by `grammar_code`.
fn graphic_ascii(grammar_code: RejectionCode, field: &str, text: &str) -> Result<(), Rejection> {
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        None => Ok(()),
        Some(' ') => Err(Rejection::new(grammar_code, field, format!("a space in {}", quoted(text)))),
        Some(c) if c.is_ascii_control() => {
            Err(Rejection::new(RejectionCode::ControlCharacter, field, format!("control character in {}", quoted(text))))
        }
        Some(_) => Err(Rejection::new(RejectionCode::NotAscii, field, format!("not printable ASCII: {}", quoted(text)))),
    }
}

fn grammar(code: RejectionCode, field: &str, text: &str, rule: &str, kept: bool) -> Result<(), Rejection> {
    if kept { Ok(()) } else { Err(Rejection::new(code, field, format!("{} is not {rule}", quoted(text)))) }
}

impl Manager {
    /// Parses a manager's word.
    ///
    /// # Errors
    /// When it is empty, longer than [`limits::MANAGER_BYTES_MAX`] or outside the grammar.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        bounded("package_type", text, limits::MANAGER_BYTES_MAX)?;
        graphic_ascii(RejectionCode::NameGrammar, "package_type", text)?;
        let kept = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        grammar(RejectionCode::NameGrammar, "package_type", text, "a manager's word", kept)?;
        Ok(Self(text.into()))
    }
}

impl PackageName {
    /// Parses a name by the general grammar: printable ASCII without space, not starting with `-`.
    ///
    /// # Errors
    /// When it is empty, longer than [`limits::PACKAGE_NAME_BYTES_MAX`] or outside the grammar.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let field = "package_name";
        bounded(field, text, limits::PACKAGE_NAME_BYTES_MAX)?;
        graphic_ascii(RejectionCode::NameGrammar, field, text)?;
        grammar(RejectionCode::NameGrammar, field, text, "a package name (leading '-')", !text.starts_with('-'))?;
        Ok(Self(text.into()))
    }

    /// Parses a name by the grammar of `manager`.
    ///
    /// # Errors
    /// As [`PackageName::parse`]; for `apt` and `dnf` also when their own grammar forbids it.
    pub fn parse_for(manager: &Manager, text: &str) -> Result<Self, Rejection> {
        let name = Self::parse(text)?;
        let (rule, kept) = match manager.as_str() {
            APT => ("a Debian package name", deb_name(text)),
            DNF => ("an rpm package name", rpm_name(text)),
            _ => return Ok(name),
        };
        grammar(RejectionCode::NameGrammar, "package_name", text, rule, kept)?;
        Ok(name)
    }
}

/// deb-control(5), Package: at least two of `a-z0-9+.-`, the first a letter or digit. A trailing `-` would mean removal to apt.
fn deb_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b);
    (2..=128).contains(&text.len()) && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(allowed) && !text.ends_with('-')
}

fn rpm_name(text: &str) -> bool {
    text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        || text.starts_with('_') && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

impl Arch {
    /// Parses an architecture: ASCII letters, digits, `_` and `-`.
    ///
    /// # Errors
    /// When it is empty, longer than [`limits::ARCH_BYTES_MAX`] or outside the grammar.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        bounded("arch", text, limits::ARCH_BYTES_MAX)?;
        graphic_ascii(RejectionCode::NameGrammar, "arch", text)?;
        let kept = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) && !text.starts_with('-');
        grammar(RejectionCode::NameGrammar, "arch", text, "an architecture", kept)?;
        Ok(Self(text.into()))
    }
}

impl Version {
    /// Parses a version by the general grammar: printable ASCII without space, not starting with `-`.
    ///
    /// # Errors
    /// When it is empty, longer than [`limits::VERSION_BYTES_MAX`] or outside the grammar.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        Self::parse_as("version", text)
    }

    fn parse_as(field: &str, text: &str) -> Result<Self, Rejection> {
        bounded(field, text, limits::VERSION_BYTES_MAX)?;
        graphic_ascii(RejectionCode::VersionGrammar, field, text)?;
        grammar(RejectionCode::VersionGrammar, field, text, "a version (leading '-')", !text.starts_with('-'))?;
        Ok(Self(text.into()))
    }

    /// Parses a version by the grammar of `manager`; `field` names it in the rejection.
    ///
    /// # Errors
    /// As [`Version::parse`]; for `apt` and `dnf` also when their own grammar forbids it.
    pub fn parse_for(manager: &Manager, field: &str, text: &str) -> Result<Self, Rejection> {
        let version = Self::parse_as(field, text)?;
        let (rule, kept) = match manager.as_str() {
            APT => ("a Debian version", deb_version(text)),
            DNF => ("an rpm [epoch:]version-release", rpm_version(text)),
            _ => return Ok(version),
        };
        grammar(RejectionCode::VersionGrammar, field, text, rule, kept)?;
        Ok(version)
    }
}

/// Splits `epoch:rest`; an epoch must be a number up to 2^31 - 1, as dpkg and rpm demand.
fn without_epoch(text: &str) -> Option<&str> {
    match text.split_once(':') {
        None => Some(text),
        Some((epoch, rest)) => {
            let number = epoch.bytes().all(|b| b.is_ascii_digit()) && epoch.parse::<i32>().is_ok();
            number.then_some(rest)
        }
    }
}

/// deb-version(7): `[epoch:]upstream[-revision]` of `A-Za-z0-9.+~-` (colons only with an epoch), upstream starting with a digit.
///
/// dpkg itself only warns when the first character is no digit, and such versions exist, so letters are accepted here too.
fn deb_version(text: &str) -> bool {
    without_epoch(text).is_some_and(|rest| {
        rest.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~-:".contains(&b))
    })
}

fn rpm_version(text: &str) -> bool {
    without_epoch(text).is_some_and(|rest| {
        rest.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+~^-".contains(&b))
    })
}

impl Text {
    /// Parses a short text; `field` names it in the rejection.
    ///
    /// # Errors
    /// When it is empty, longer than [`limits::TEXT_BYTES_MAX`] or holds NUL.
    pub fn parse_as(field: &str, text: &str) -> Result<Self, Rejection> {
        bounded(field, text, limits::TEXT_BYTES_MAX)?;
        if text.contains('\0') {
            return Err(Rejection::new(RejectionCode::ControlCharacter, field, format!("NUL in {}", quoted(text))));
        }
        Ok(Self(text.into()))
    }

    /// Parses a short text.
    ///
    /// # Errors
    /// As [`Text::parse_as`].
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        Self::parse_as("text", text)
    }

    /// `text` made to fit: NUL becomes U+FFFD, what is too long is cut at a character, nothing becomes `-`. For texts of our own
    /// making that quote outside words, such as the reason of a failure.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let mut kept = text.replace('\0', "\u{fffd}");
        if kept.len() > limits::TEXT_BYTES_MAX {
            kept.truncate(kept.floor_char_boundary(limits::TEXT_BYTES_MAX - '…'.len_utf8()));
            kept.push('…');
        }
        if kept.is_empty() { Self("-".into()) } else { Self(kept.into()) }
    }
}

/// What identifies a package on one agent: manager, name and architecture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageKey {
    /// The source of updates.
    #[serde(rename = "package_type")]
    pub manager: Manager,
    /// The package's name within it.
    #[serde(rename = "package_name")]
    pub name: PackageName,
    /// Its architecture, where the manager knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
}

impl PackageKey {
    /// Parses the three parts by the grammar of the manager.
    ///
    /// # Errors
    /// When a part is outside its grammar or limits.
    pub fn parse(manager: &str, name: &str, arch: Option<&str>) -> Result<Self, Rejection> {
        Self::parse_of(&Manager::parse(manager)?, name, arch)
    }

    /// Parses name and architecture of a package of `manager`, whose text it shares.
    ///
    /// # Errors
    /// When a part is outside its grammar or limits.
    pub fn parse_of(manager: &Manager, name: &str, arch: Option<&str>) -> Result<Self, Rejection> {
        let name = PackageName::parse_for(manager, name)?;
        let arch = arch.map(Arch::parse).transpose()?;
        Ok(Self { manager: manager.clone(), name, arch })
    }

    /// The architecture as text, empty where the manager knows none: as columns hold it and lists order it.
    #[must_use]
    pub fn arch_text(&self) -> &str {
        self.arch.as_ref().map_or("", Arch::as_str)
    }

    /// The order of packages in lists: by name, manager and architecture, each in byte order.
    #[must_use]
    pub fn list_order(&self, other: &Self) -> Ordering {
        let by_manager = || self.manager.cmp(&other.manager);
        self.name.cmp(&other.name).then_with(by_manager).then_with(|| self.arch_text().cmp(other.arch_text()))
    }
}

impl fmt::Display for PackageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arch {
            Some(arch) => write!(f, "{} {}:{arch}", self.manager, self.name),
            None => write!(f, "{} {}", self.manager, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(parsed: Result<T, Rejection>) -> Option<RejectionCode> {
        parsed.err().map(|rejection| rejection.code)
    }

    #[test]
    fn limits_are_inclusive() {
        assert!(PackageName::parse(&"a".repeat(limits::PACKAGE_NAME_BYTES_MAX)).is_ok());
        assert_eq!(code(PackageName::parse(&"a".repeat(limits::PACKAGE_NAME_BYTES_MAX + 1))), Some(RejectionCode::TooLong));
        assert!(Version::parse(&"1".repeat(limits::VERSION_BYTES_MAX)).is_ok());
        assert_eq!(code(Version::parse(&"1".repeat(limits::VERSION_BYTES_MAX + 1))), Some(RejectionCode::TooLong));
        assert!(Text::parse(&"é".repeat(limits::TEXT_BYTES_MAX / 2)).is_ok());
        assert_eq!(code(Text::parse(&"x".repeat(limits::TEXT_BYTES_MAX + 1))), Some(RejectionCode::TooLong));
        assert!(Arch::parse(&"a".repeat(limits::ARCH_BYTES_MAX)).is_ok());
        assert_eq!(code(Arch::parse(&"a".repeat(limits::ARCH_BYTES_MAX + 1))), Some(RejectionCode::TooLong));
        assert!(Manager::parse(&"a".repeat(limits::MANAGER_BYTES_MAX)).is_ok());
        assert_eq!(code(Manager::parse(&"a".repeat(limits::MANAGER_BYTES_MAX + 1))), Some(RejectionCode::TooLong));
    }

    #[test]
    fn names_that_a_package_manager_would_take_for_something_else_are_rejected() {
        for name in [
            "wget-",
            "pkg=1",
            "pkg/sid",
            "task^",
            "^lib.*",
            "./x.deb",
            "-oAPT::X=1",
            "--allow-downgrades",
            "a b",
            "a\0",
            "оpenssl",
            "a",
            "Foo",
        ] {
            assert!(PackageKey::parse(APT, name, None).is_err(), "{name:?}");
        }
        for name in ["@core", "*", "foo*", "(a or b)", "https://h/x.rpm", "../x.rpm", "foo >= 1"] {
            assert!(PackageKey::parse(DNF, name, None).is_err(), "{name:?}");
        }
        for name in ["g++", "libstdc++6", "0ad", "python3.11-minimal"] {
            assert!(PackageKey::parse(APT, name, Some("amd64")).is_ok(), "{name:?}");
        }
        assert!(PackageKey::parse(DNF, "python3-lab00041+plus.dot_under", Some("noarch")).is_ok());
        assert!(PackageKey::parse(DOCKER, "127.0.0.1:5555/lab/web:latest@web", None).is_ok());
    }

    #[test]
    fn versions_keep_their_managers_grammar() {
        let apt = Manager::parse(APT).unwrap();
        let dnf = Manager::parse(DNF).unwrap();
        for version in ["1:0.9~rc1+dfsg-1ubuntu0.1", "20250419~deb12u2", "0:1", "2147483647:1"] {
            assert!(Version::parse_for(&apt, "version", version).is_ok(), "{version}");
        }
        for version in ["", "-1:1", "4294967296:1", "1^git", "1 2", ":1", "x:1"] {
            assert!(Version::parse_for(&apt, "version", version).is_err(), "{version}");
        }
        for version in ["1:0.9~rc1-1", "1.0^git1-2.fc40", "2.0.0~rc1-2.lab1"] {
            assert!(Version::parse_for(&dnf, "version", version).is_ok(), "{version}");
        }
    }

    #[test]
    fn lossy_texts_always_fit() {
        for text in ["", "a\0b", &"é".repeat(3_000)] {
            assert!(Text::parse(Text::lossy(text).as_str()).is_ok());
        }
    }
}
