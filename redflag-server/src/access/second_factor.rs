//! A second factor: one-time codes of an authenticator app (TOTP, RFC 6238, with SHA-1, six digits and thirty seconds, which every app
//! knows), and recovery codes for who has lost the app.
//!
//! Server and app hold the same secret, so it stands in the account's record as it is: who reads the database can make codes, and knows
//! no password by that. Recovery codes are random and kept as digests. A code is taken once (RFC 6238, section 5.2).

use super::AccountName;
use redflag_core::{ids::Digest, time::Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use totp_rs::{Builder, Totp};

/// How many recovery codes come with a second factor.
pub const RECOVERY_CODES: usize = 10;
/// Bytes of the secret: as long as the digest, which RFC 4226 (section 4, R6) recommends.
const SECRET_BYTES: usize = 20;
/// Bytes of a recovery code: 120 bits, so that a digest hides it without salt and work (ASVS 5.0.0, 6.5.2, asks for 112).
const RECOVERY_BYTES: usize = 15;

/// The secret that the app and the server share. It has no `Debug` of its content.
#[derive(Clone, PartialEq, Eq)]
pub struct FactorSecret([u8; SECRET_BYTES]);

impl FactorSecret {
    /// Makes one.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> Self {
        Self(crate::ids::random())
    }

    /// Reads one as people type it: in base32, with spaces and in any case.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn parse(written: &str) -> Result<Self, String> {
        let plain: String = written.chars().filter(|character| !character.is_whitespace()).collect();
        let secret = totp_rs::Secret::try_from_base32(plain.to_ascii_uppercase());
        let bytes = secret.ok().and_then(|secret| secret.as_bytes().try_into().ok());
        bytes.map(Self).ok_or_else(|| format!("is no secret of {SECRET_BYTES} bytes in base32"))
    }

    /// The secret in base32, for the app.
    #[must_use]
    pub fn base32(&self) -> String {
        totp_rs::Secret::new_stack(self.0).to_base32()
    }

    /// The secret as apps read it from a QR code (the key URI format of Google Authenticator).
    #[must_use]
    pub fn uri(&self, account: &AccountName) -> String {
        // Names of accounts have no character that stands for another one in the path of a URI.
        format!("otpauth://totp/RedFlag:{account}?secret={}&issuer=RedFlag", self.base32())
    }

    /// The code of the moment `now`, as the app shows it.
    #[must_use]
    pub fn code(&self, now: Timestamp) -> String {
        self.totp().generate(seconds(now)).to_string()
    }

    /// The step whose code this is, of the one of `now` and its two neighbours, for clocks that differ and people who are slow.
    fn step_of(&self, code: &str, now: Timestamp) -> Option<u64> {
        let digits = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        if digits { self.totp().check(code, seconds(now)) } else { None }
    }

    fn totp(&self) -> Totp {
        Builder::new().with_secret(self.0.to_vec()).build().expect("a secret of 20 bytes is long enough")
    }
}

impl fmt::Debug for FactorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FactorSecret(…)")
    }
}

impl Serialize for FactorSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.base32())
    }
}

impl<'de> Deserialize<'de> for FactorSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The second factor of an account, as its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SecondFactor {
    secret: FactorSecret,
    /// The step of the newest code that was taken. None of it or before is taken again.
    last_step: u64,
    /// Digests of the recovery codes that were not used yet.
    recovery: Vec<Digest>,
}

/// What a code was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Used {
    /// One of the app.
    Code,
    /// A recovery code.
    Recovery {
        /// How many are left.
        left: usize,
    },
}

impl SecondFactor {
    /// The second factor of who has just shown the first code of the app, with its recovery codes; none when the code does not hold.
    pub(super) fn begin(secret: FactorSecret, code: &str, now: Timestamp) -> Option<(Self, Vec<String>)> {
        let last_step = secret.step_of(&plain(code), now)?;
        let codes: Vec<_> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect();
        let recovery = codes.iter().map(|code| at_rest(&plain(code))).collect();
        Some((Self { secret, last_step, recovery }, codes))
    }

    /// The second factor after this code was used; none when it does not hold.
    pub(super) fn after(&self, code: &str, now: Timestamp) -> Option<(Self, Used)> {
        let code = plain(code);
        if let Some(step) = self.secret.step_of(&code, now) {
            return (step > self.last_step).then(|| (Self { last_step: step, ..self.clone() }, Used::Code));
        }
        let used = at_rest(&code);
        let recovery: Vec<_> = self.recovery.iter().copied().filter(|kept| *kept != used).collect();
        let left = recovery.len();
        (left < self.recovery.len()).then(|| (Self { recovery, ..self.clone() }, Used::Recovery { left }))
    }
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros() / 1_000_000).unwrap_or_default()
}

/// Twenty-four letters and digits in groups of four.
fn recovery_code() -> String {
    let bytes: [u8; RECOVERY_BYTES] = crate::ids::random();
    let written = totp_rs::Secret::from(bytes.to_vec()).to_base32();
    written.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join("-")
}

/// A code as it is compared: people group codes with spaces and hyphens, and write them in small letters.
fn plain(code: &str) -> String {
    code.chars()
        .filter(|character| !character.is_whitespace() && *character != '-')
        .map(|character| character.to_ascii_uppercase())
        .collect()
}

fn at_rest(code: &str) -> Digest {
    Digest::of("redflag recovery code v1", &[code.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000).unwrap()
    }

    /// RFC 6238, appendix B, the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = FactorSecret(*b"12345678901234567890");
        let codes =
            [(59, "287082"), (1_111_111_109, "081804"), (1_111_111_111, "050471"), (1_234_567_890, "005924"), (2_000_000_000, "279037")];
        for (second, code) in codes {
            assert_eq!(secret.code(at(second)), code);
            assert!(SecondFactor::begin(secret.clone(), code, at(second)).is_some(), "{code}");
        }
    }

    #[test]
    fn a_code_holds_for_its_own_step_and_its_neighbours_once() {
        let (secret, now) = (FactorSecret::new(), at(1_800_000_000));
        let step = Duration::from_secs(30);
        let before = at(1_800_000_000 - 60);
        let (factor, _) = SecondFactor::begin(secret.clone(), &secret.code(before), before).unwrap();
        let code = secret.code(now);
        for late in [now, now.saturating_add(step)] {
            assert!(factor.after(&code, late).is_some(), "{late}");
        }
        assert!(factor.after(&code, at(1_800_000_000 - 30)).is_some(), "a clock that is behind");
        assert!(factor.after(&code, now.saturating_add(2 * step)).is_none(), "too late");
        let spaced = format!("{} {}", &code[..3], &code[3..]);
        let (spent, used) = factor.after(&spaced, now).unwrap();
        assert_eq!(used, Used::Code);
        assert!(spent.after(&code, now).is_none(), "a code is taken once");
        assert!(spent.after(&secret.code(at(1_800_000_000 - 30)), now).is_none(), "nor is an older one then");
        assert!(spent.after(&secret.code(now.saturating_add(step)), now.saturating_add(step)).is_some());
    }

    #[test]
    fn what_is_no_code_does_not_hold() {
        let (secret, now) = (FactorSecret::new(), at(1_800_000_000));
        let earlier = at(1_800_000_000 - 600);
        let (factor, _) = SecondFactor::begin(secret.clone(), &secret.code(earlier), earlier).unwrap();
        let other = FactorSecret::new().code(now);
        let code = secret.code(now);
        for wrong in ["", " ", "-", "0", &code[..5], &format!("{code}0"), &format!("+{}", &code[1..]), "٠٠٠٠٠٠", "𝟎𝟎𝟎𝟎𝟎𝟎"]
        {
            assert!(factor.after(wrong, now).is_none(), "{wrong:?}");
        }
        assert!(other == code || factor.after(&other, now).is_none(), "of another secret");
        assert!(SecondFactor::begin(secret, "", now).is_none());
    }

    #[test]
    fn each_recovery_code_holds_once_however_it_is_written() {
        let (secret, now) = (FactorSecret::new(), at(1_800_000_000));
        let (mut factor, codes) = SecondFactor::begin(secret.clone(), &secret.code(now), now).unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        for (number, code) in codes.iter().enumerate() {
            assert!(code.len() == 29 && code.matches('-').count() == 5, "{code}");
            let written = if number % 2 == 0 { code.to_ascii_lowercase() } else { code.replace('-', " ") };
            let (spent, used) = factor.after(&written, now).unwrap();
            assert_eq!(used, Used::Recovery { left: RECOVERY_CODES - 1 - number });
            assert!(spent.after(code, now).is_none(), "once");
            factor = spent;
        }
        let kept = serde_json::to_string(&factor).unwrap();
        assert_eq!(serde_json::from_str::<SecondFactor>(&kept).unwrap(), factor);
    }

    #[test]
    fn a_secret_is_read_as_it_is_shown_and_nothing_else_is_one() {
        let secret = FactorSecret::new();
        let shown = secret.base32();
        assert_eq!(shown.len(), 32);
        let grouped = shown.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ").to_ascii_lowercase();
        assert!(FactorSecret::parse(&shown).unwrap() == secret && FactorSecret::parse(&grouped).unwrap() == secret);
        for wrong in ["", "A", &shown[..31], &format!("{shown}AAAAAAAA"), &shown.replace(&shown[..1], "1"), "ä"] {
            assert!(FactorSecret::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(format!("{secret:?}"), "FactorSecret(…)");
        let uri = secret.uri(&"ada@example.org".parse().unwrap());
        assert_eq!(uri, format!("otpauth://totp/RedFlag:ada@example.org?secret={shown}&issuer=RedFlag"));
    }
}
