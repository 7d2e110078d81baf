//! The closed sets of words that SQL, API and pages share (clause S8), each defined once.
//!
//! Every set lists its words in [`ALL`](Status::ALL), in the order lists show them; `code()` is the word's place in that order,
//! the small number stores keep. Words are never removed or reordered once released.

/// A word that is not in its set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {set} {value:?}; known are: {known}")]
pub struct UnknownWord {
    set: &'static str,
    value: String,
    known: String,
}

impl UnknownWord {
    pub(crate) fn new(set: &'static str, value: &str, known: &[&str]) -> Self {
        Self { set, value: value.chars().take(64).collect(), known: known.join(", ") }
    }
}

macro_rules! words {
    ($(#[$meta:meta])* $set:literal $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_meta])* #[doc = concat!("\n\nThe word is `", $word, "`.")] $variant,)+ }

        impl $name {
            /// Every word of the set, in the order lists show them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word itself.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The word's place in [`Self::ALL`].
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The word at place `code` of [`Self::ALL`].
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, $crate::words::UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::words::UnknownWord::new($set, text, &[$($word),+])),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                word.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use words;

words! {
    /// Where an update stands (clause S6); derived from a package's state in one function, never stored as truth.
    "status" Status {
        /// Offered, nobody has decided.
        Pending = "pending",
        /// An operator approved exactly this offer.
        Approved = "approved",
        /// An operator chose not to be asked about it.
        Ignored = "ignored",
        /// Approved, but the plan goes beyond the allowed side effects; a second look is needed.
        NeedsReview = "needs-review",
        /// A command to install it waits for the agent.
        Queued = "queued",
        /// The agent is installing it, or claims to have done so and the verifying scan is still to come.
        Installing = "installing",
        /// A scan saw the offered version, or a newer one, installed.
        Installed = "installed",
        /// The last attempt to install it failed or expired.
        Failed = "failed",
        /// The last attempt was undone; the old version runs again.
        RolledBack = "rolled-back",
        /// No longer offered, and not because it was installed.
        Withdrawn = "withdrawn",
    }
}

impl Status {
    /// Whether the offer is still open: it waits to be installed, whatever was decided about it.
    #[must_use]
    pub const fn open(self) -> bool {
        !matches!(self, Self::Installed | Self::Withdrawn)
    }
}

words! {
    /// How serious an update is (clause S7), most serious first.
    "severity" Severity {
        /// Critical.
        Critical = "critical",
        /// Important; some vendors say high.
        Important = "important",
        /// Moderate; some vendors say medium.
        Moderate = "moderate",
        /// Low.
        Low = "low",
        /// The source states none, or a word that is not in this set (kept beside it as it came).
        Unknown = "unknown",
    }
}

impl Severity {
    /// The severity a source's own word stands for; words outside the set are [`Severity::Unknown`].
    #[must_use]
    pub fn from_source_word(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "important" | "high" => Self::Important,
            "moderate" | "medium" => Self::Moderate,
            "low" => Self::Low,
            _ => Self::Unknown,
        }
    }
}

words! {
    /// Whether an offer can be installed now (clause S6).
    "availability" AvailabilityKind {
        /// Can be installed now.
        Installable = "installable",
        /// Held by the host's administrator (`apt-mark hold`, dnf versionlock).
        Held = "held",
        /// The publisher releases it in phases and this host's turn has not come.
        Phased = "phased",
        /// The manager keeps it back, for example because of a dependency.
        KeptBack = "kept-back",
        /// A pin or priority prefers another version.
        Pinned = "pinned",
        /// A policy forbids it.
        Blocked = "blocked",
        /// The scan could not tell.
        Unknown = "unknown",
    }
}

words! {
    /// How a scan of one manager ended.
    "scan result" ScanResult {
        /// Everything was seen: absence means "not offered any more".
        Complete = "complete",
        /// Something could not be read or was cut off: absence means nothing.
        Partial = "partial",
        /// The scan failed: it says nothing about packages.
        Failed = "failed",
    }
}

words! {
    /// How versions of a manager are compared (clause A2).
    "version order" VersionOrder {
        /// Debian's rules (deb-version(7)).
        Dpkg = "dpkg",
        /// RPM's rules for epoch, version and release.
        Rpm = "rpm",
        /// Semantic Versioning 2.0.0.
        Semver = "semver",
        /// Only equality is known.
        None = "none",
    }
}

words! {
    /// What an ignore covers (clause S4).
    "ignore scope" IgnoreScope {
        /// The version shown; a newer one asks again.
        Version = "version",
        /// Every version of the package, until reopened or expired.
        Package = "package",
    }
}

words! {
    /// What became of one event of a batch (clause B4).
    "outcome" OutcomeKind {
        /// Stored and applied.
        Accepted = "accepted",
        /// Already stored with equal content; nothing done.
        Duplicate = "duplicate",
        /// Not applied; kept with its reason (clause B15).
        Rejected = "rejected",
    }
}

words! {
    /// What a version history row says happened.
    "version outcome" VersionOutcome {
        /// The version was seen installed by a scan.
        Installed = "installed",
        /// The attempt to install it failed.
        Failed = "failed",
        /// The version was taken back.
        RolledBack = "rolled-back",
    }
}

words! {
    /// Why an offer was withdrawn.
    "withdrawal reason" WithdrawalReason {
        /// The sources of the host no longer offer it.
        NoLongerOffered = "no-longer-offered",
        /// The package itself is no longer installed.
        PackageRemoved = "package-removed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_code_reads_back() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), *status);
            assert_eq!(Status::from_code(status.code()), Some(*status));
        }
        assert_eq!(Severity::from_code(5), None);
        let error = "done".parse::<Status>().unwrap_err().to_string();
        assert!(error.starts_with("unknown status \"done\"; known are: pending, "), "{error}");
    }

    #[test]
    fn vendors_words_map_to_the_one_set() {
        assert_eq!(Severity::from_source_word("CRITICAL"), Severity::Critical);
        assert_eq!(Severity::from_source_word("high"), Severity::Important);
        assert_eq!(Severity::from_source_word("低"), Severity::Unknown);
    }
}
