//! How many rows a page holds, and which page it is.

use super::QueryError;
use crate::limits;

/// How many rows a page holds: 1 to [`limits::PAGE_SIZE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSize(u32);

impl PageSize {
    /// The largest page.
    pub const MAX: Self = Self(limits::PAGE_SIZE_MAX);

    /// A page of `rows`.
    ///
    /// # Errors
    /// Outside 1 to [`limits::PAGE_SIZE_MAX`].
    pub fn new(rows: u32) -> Result<Self, QueryError> {
        if (1..=limits::PAGE_SIZE_MAX).contains(&rows) {
            Ok(Self(rows))
        } else {
            Err(QueryError::new("page_size", format!("must be 1 to {}, not {rows}", limits::PAGE_SIZE_MAX)))
        }
    }

    /// Rows on the page.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(limits::PAGE_SIZE_DEFAULT)
    }
}

/// The number of a page, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageNumber(u32);

impl PageNumber {
    /// Page `number`.
    ///
    /// # Errors
    /// For page 0.
    pub fn new(number: u32) -> Result<Self, QueryError> {
        if number == 0 { Err(QueryError::new("page", "pages are numbered from 1")) } else { Ok(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Rows before this page.
    #[must_use]
    pub fn offset(self, size: PageSize) -> u64 {
        u64::from(self.0 - 1) * u64::from(size.0)
    }
}

impl Default for PageNumber {
    fn default() -> Self {
        Self(1)
    }
}
