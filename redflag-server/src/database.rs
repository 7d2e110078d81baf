//! Which database a fleet lives in: told from its name, and opened.

use crate::settings::SignaturesSeen;
use redflag_core::{
    Fleet, MemoryStore,
    store::{StoreError, StoreErrorKind},
};
use redflag_store_sqlite::SqliteStore;
use std::{fmt, path::PathBuf, str::FromStr};

/// How often servers that share a database tell each other which signatures of an agent they have seen.
#[cfg(feature = "postgres")]
const SIGNATURES_TOLD_EVERY: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// A database by name. In text: a path or `sqlite:PATH`, `postgres://USER:PASSWORD@HOST/DATABASE`, or `memory:`.
///
/// Showing it leaves the password out.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseName {
    /// A fleet that is gone with the process.
    Memory,
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

/// A name that is of no known kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown database {shown:?}; known are: {}", KNOWN)]
pub struct UnknownDatabase {
    shown: String,
}

#[cfg(feature = "postgres")]
const KNOWN: &str = "a path, sqlite:PATH, postgres://USER@HOST/DATABASE, memory:";
#[cfg(not(feature = "postgres"))]
const KNOWN: &str = "a path, sqlite:PATH, memory: (this build knows no PostgreSQL)";

impl FromStr for DatabaseName {
    type Err = UnknownDatabase;

    fn from_str(text: &str) -> Result<Self, UnknownDatabase> {
        match text.split_once(':') {
            Some(("memory", "")) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            #[cfg(feature = "postgres")]
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(text.to_owned())),
            // A scheme of something else is no path, even though it could be a file's name.
            Some((_, rest)) if rest.starts_with("//") => Err(UnknownDatabase { shown: without_password(text) }),
            _ if text.is_empty() => Err(UnknownDatabase { shown: String::new() }),
            _ => Ok(Self::Sqlite(text.into())),
        }
    }
}

/// `scheme://user:password@host` with the password left out; also where it stands as a parameter.
fn without_password(url: &str) -> String {
    let (before, parameters) = url.split_once('?').map_or((url, None), |(before, parameters)| (before, Some(parameters)));
    let mut shown = match before.rsplit_once('@').and_then(|(login, host)| Some((login.split_once("://")?, host))) {
        Some(((scheme, login), host)) => format!("{scheme}://{}@{host}", login.split(':').next().unwrap_or_default()),
        None => before.to_owned(),
    };
    let harmless = |parameter: &&str| !parameter.to_ascii_lowercase().contains("password");
    let parameters: Vec<&str> = parameters.into_iter().flat_map(|parameters| parameters.split('&')).filter(harmless).collect();
    if !parameters.is_empty() {
        shown.push('?');
        shown.push_str(&parameters.join("&"));
    }
    shown
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => path.display().fmt(f),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl DatabaseName {
    /// Who knows which signatures servers of such a database have seen: several may share a PostgreSQL server.
    #[must_use]
    pub fn signatures_seen(&self) -> SignaturesSeen {
        match self {
            Self::Memory | Self::Sqlite(_) => SignaturesSeen::Here,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => SignaturesSeen::Shared { every: SIGNATURES_TOLD_EVERY },
        }
    }

    /// Where the key that signs commands lies when nothing else is asked for: beside a SQLite file, in the working directory for a
    /// database that is elsewhere. None for a fleet that is gone with the process: so is its key.
    #[must_use]
    pub fn signing_key(&self) -> Option<PathBuf> {
        self.beside("signing-key")
    }

    /// Where the key that signs checkpoints of the audit log lies when nothing else is asked for: as [`DatabaseName::signing_key`].
    #[must_use]
    pub fn audit_key(&self) -> Option<PathBuf> {
        self.beside("audit-key")
    }

    fn beside(&self, extension: &str) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => {
                let mut name = path.clone().into_os_string();
                name.push(format!(".{extension}"));
                Some(name.into())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Some(format!("redflag.{extension}").into()),
        }
    }

    /// Opens the fleet; a SQLite file, or a schema on PostgreSQL, that is not there is made.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub async fn open(&self) -> Result<Fleet, StoreError> {
        match self {
            Self::Memory => Ok(Fleet::new(MemoryStore::default())),
            Self::Sqlite(path) => {
                let path = path.clone();
                let opening = tokio::task::spawn_blocking(|| SqliteStore::open(path, redflag_store_sqlite::Options::default()));
                let opened = opening.await.map_err(|error| StoreError::caused(StoreErrorKind::Unavailable, error))?;
                opened.map(Fleet::new)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => {
                use redflag_store_postgres::{Options, PostgresStore};
                PostgresStore::connect(url, Options::default()).await.map(Fleet::new)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let read = |text: &str| text.parse::<DatabaseName>().map_err(|error| error.to_string());
        assert_eq!(read("memory:"), Ok(DatabaseName::Memory));
        assert_eq!(read("redflag.db"), Ok(DatabaseName::Sqlite("redflag.db".into())));
        assert_eq!(read("sqlite:/var/lib/redflag.db"), Ok(DatabaseName::Sqlite("/var/lib/redflag.db".into())));
        assert_eq!(read("a:b.db"), Ok(DatabaseName::Sqlite("a:b.db".into())));
        #[cfg(feature = "postgres")]
        assert_eq!(read("postgres://a/b"), Ok(DatabaseName::Postgres("postgres://a/b".to_owned())));
        let unknown = read("mysql://root:secret@host/db").unwrap_err();
        assert!(unknown.starts_with("unknown database \"mysql://root@host/db\"; known are: a path, "), "{unknown}");
        assert!(read("").is_err());
    }

    #[test]
    fn passwords_are_never_shown() {
        for url in ["postgres://u:secret@h/d", "postgres://u:se:c@ret@h:5432/d?sslmode=require", "postgres://h/d?user=u&password=secret"] {
            let shown = without_password(url);
            assert!(!shown.contains("se:c") && !shown.contains("secret") && !shown.contains("c@ret"), "{shown}");
            assert!(shown.contains("/d"), "{shown}");
        }
        assert_eq!(without_password("postgres://u@h/d?host=/tmp"), "postgres://u@h/d?host=/tmp");
    }
}
