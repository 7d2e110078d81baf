//! Passwords: what is asked of them, and their Argon2id hashes, which are computed beside the event loop, a bounded number at once.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc},
};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, thread};
use tokio::sync::Semaphore;

use super::account::AccountName;
use crate::{ids, problem::Problem};

/// Memory of one hash, in KiB. With [`PASSES`] and one lane this is what OWASP recommends for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
const PASSES: u32 = 2;
/// Lanes, which one core fills.
const LANES: u32 = 1;
/// Least characters of a password.
pub const PASSWORD_CHARACTERS_MIN: usize = 12;
/// Most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;
/// Least different characters of a password.
const DIFFERENT_CHARACTERS_MIN: usize = 5;
/// Most tries to sign in that wait for a core; each may take some 20 ms of one.
const WAITING_MAX: usize = 64;
/// Passwords of at least [`PASSWORD_CHARACTERS_MIN`] characters, folded and sorted: the 10,000 most common ones of that length among the
/// ten million of breaches that Mark Burnett gave to the public domain, and some that fit here.
const COMMON: &str = include_str!("common_passwords.txt");
/// Words of this place, which somebody who guesses puts together first; `docs/operations.md` lists them.
const WORDS_OF_THE_PLACE: [&str; 8] = ["redflag", "administrator", "operator", "approver", "viewer", "admin", "server", "agent"];

/// A new password that was found good enough.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Takes a password for the account `name`.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub fn parse(name: &AccountName, password: &str) -> Result<Self, String> {
        let folded = password.to_lowercase();
        let mut different: Vec<char> = password.chars().collect();
        different.sort_unstable();
        different.dedup();
        if password.chars().count() < PASSWORD_CHARACTERS_MIN {
            return Err(format!("a password needs at least {PASSWORD_CHARACTERS_MIN} characters"));
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(format!("a password may have {PASSWORD_BYTES_MAX} bytes at most"));
        }
        if password.contains(['\0', '\n', '\r']) {
            return Err("a password is one line".to_owned());
        }
        if different.len() < DIFFERENT_CHARACTERS_MIN {
            return Err(format!("a password needs at least {DIFFERENT_CHARACTERS_MIN} different characters"));
        }
        if COMMON.lines().any(|common| common == folded) {
            return Err("this password is among the most common ones".to_owned());
        }
        let own_name = name.key();
        let left = WORDS_OF_THE_PLACE.iter().fold(folded.replace(own_name.as_str(), ""), |left, word| left.replace(word, ""));
        if left.chars().count() * 2 < password.chars().count() {
            return Err("this password is little more than the account's name and words of this place".to_owned());
        }
        Ok(Self(password.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The Argon2id hash of a password, as a PHC string.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// A hash that nobody's password has, which costs as much to try.
    fn nobodys() -> Self {
        Self(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$bm9ib2R5cyBzYWx0ISE${}", "A".repeat(43)))
    }

    /// Whether it was made with other parameters than a new one would be.
    fn stale(&self) -> bool {
        !self.0.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    /// It is not the password, or there is none.
    No,
    /// It is.
    Yes,
    /// It is; the hash was made with earlier parameters, and this is one with today's.
    Again(PasswordHash),
}

/// Where hashes are computed: on as many threads at once as there are cores, with a bounded number of requests waiting for one.
#[derive(Debug)]
pub struct Passwords {
    cores: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { cores: Arc::new(Semaphore::new(cores)), waiting: Arc::new(Semaphore::new(cores + WAITING_MAX)) }
    }
}

impl Passwords {
    /// The hash of a new password. A caller that goes away does not stop a hash that was begun.
    ///
    /// # Errors
    /// 503 when too many wait.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Problem> {
        self.compute(move || hash(password.0.as_bytes())).await?
    }

    /// Tries a password. Without a `hash` the same work is done, so that its time tells nothing.
    ///
    /// # Errors
    /// 503 when too many wait.
    pub(super) async fn verify(&self, password: String, against: Option<PasswordHash>) -> Result<Verified, Problem> {
        self.compute(move || {
            let known = against.unwrap_or_else(PasswordHash::nobodys);
            match argon2().verify_password(password.as_bytes(), known.0.as_str()) {
                Ok(()) if known.stale() => hash(password.as_bytes()).map(Verified::Again),
                Ok(()) => Ok(Verified::Yes),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(Verified::No),
                Err(error) => Err(Problem::internal(&error)),
            }
        })
        .await?
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let busy = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many sign in at this moment");
        let _waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.expect("the semaphore is never closed");
        let computing = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller that went away leaves its core busy.
            let _core = core;
            work()
        });
        computing.await.map_err(|error| Problem::internal(&error))
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8]) -> Result<PasswordHash, Problem> {
    let salt = &ids::random::<16>();
    let hashed: phc::PasswordHash = argon2().hash_password_with_salt(password, salt).map_err(|error| Problem::internal(&error))?;
    Ok(PasswordHash(hashed.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(password: &str) -> Result<Password, String> {
        Password::parse(&"ada.lovelace".parse().unwrap(), password)
    }

    #[test]
    fn passwords_are_long_and_not_the_first_ones_tried() {
        for good in ["correct horse", "ąęśćżźó łąka 1", "abcde abcdef", "red flags on our hill", &"long ".repeat(200)] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        let too_long = "long enough ".repeat(86);
        for bad in [
            "",
            "eleven char",
            "aaaabbbbccccdddd",
            "password1234",
            "PassWord1234",
            "ada.lovelace1",
            "two\nlines of words",
            &too_long,
            "Q1W2E3R4T5Y6",
            "RedFlag2026!",
            "redflag-admin-ada.lovelace",
            "server.operator!",
        ] {
            let why = parse(bad).unwrap_err();
            assert!(bad.is_empty() || !why.contains(bad), "{why}");
        }
    }

    #[test]
    fn the_common_ones_are_more_than_three_thousand_that_nothing_else_refuses() {
        let listed: Vec<&str> = COMMON.lines().collect();
        assert!(listed.is_sorted_by(|one, next| one < next), "sorted, each once");
        let only_common = |password: &&&str| parse(password).is_err_and(|why| why.contains("most common"));
        assert!(listed.iter().filter(only_common).nth(3_000).is_some());
        assert!(listed.iter().all(|password| *password == password.to_lowercase()), "they are compared folded");
    }

    #[tokio::test]
    async fn a_hash_holds_its_password_and_no_other() {
        let passwords = Passwords::default();
        let kept = passwords.hash(parse("correct horse").unwrap()).await.unwrap();
        assert!(kept.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "OWASP's parameters");
        assert!(!format!("{kept:?}").contains("argon2id"), "hashes stay out of logs");
        let other = passwords.hash(parse("correct horse").unwrap()).await.unwrap();
        assert_ne!(kept, other, "each has a salt of its own");
        let tried = |password: &str, hash: Option<&PasswordHash>| passwords.verify(password.to_owned(), hash.cloned());
        assert_eq!(tried("correct horse", Some(&kept)).await, Ok(Verified::Yes));
        assert_eq!(tried("correct horsf", Some(&kept)).await, Ok(Verified::No));
        assert_eq!(tried("", Some(&kept)).await, Ok(Verified::No));
        assert_eq!(tried("correct horse", None).await, Ok(Verified::No));
    }

    #[tokio::test]
    async fn a_hash_of_earlier_parameters_is_made_again() {
        let passwords = Passwords::default();
        let earlier = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 1, 1, None).unwrap());
        let earlier: phc::PasswordHash = earlier.hash_password_with_salt(b"correct horse", &[7; 16]).unwrap();
        let earlier = PasswordHash(earlier.to_string());
        let Verified::Again(now) = passwords.verify("correct horse".to_owned(), Some(earlier.clone())).await.unwrap() else {
            panic!("the hash of earlier parameters must be made again")
        };
        assert_eq!(passwords.verify("correct horse".to_owned(), Some(now)).await, Ok(Verified::Yes));
        assert_eq!(passwords.verify("wrong".to_owned(), Some(earlier)).await, Ok(Verified::No));
    }

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_so() {
        let passwords = Passwords { cores: Arc::new(Semaphore::new(0)), waiting: Arc::new(Semaphore::new(1)) };
        let first = passwords.verify("x".to_owned(), None);
        tokio::pin!(first);
        tokio::select! {
            biased;
            _ = &mut first => panic!("there is no core to compute on"),
            () = std::future::ready(()) => {}
        }
        let second = passwords.verify("x".to_owned(), None).await.unwrap_err();
        assert_eq!((second.status().as_u16(), second.code()), (503, "busy"));
    }
}
