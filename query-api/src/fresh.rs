//! How fresh an answer is: what it was read from, and what the views do not show yet.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

/// Views that are folded anew: they show less than the ledger held when this process started, so they are older than
/// what an earlier process may have answered. Lag behind entries that came since is no rebuilding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Rebuilding {
    /// Entries that the views show.
    pub folded: u64,
    /// Entries that the ledger held when this process started.
    pub of: u64,
}

impl std::fmt::Display for Rebuilding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.folded, self.of)
    }
}

/// How fresh an answer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fresh {
    /// The newest index that it uses; `None` for an empty log.
    pub as_of: Option<u64>,
    /// Age of the oldest entry that the views do not show yet, milliseconds.
    pub lag_ms: u64,
    /// That the views are folded anew and lack entries that the question is about.
    pub rebuilding: Option<Rebuilding>,
}

impl Fresh {
    /// Writes the headers that say so: `Pedigraph-As-Of`, `Pedigraph-Lag-Ms` and, only while it is so,
    /// `Pedigraph-Rebuilding`.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(index) = self.as_of {
            headers.insert("pedigraph-as-of", HeaderValue::from(index));
        }
        headers.insert("pedigraph-lag-ms", HeaderValue::from(self.lag_ms));
        let rebuilding = self.rebuilding.and_then(|state| HeaderValue::from_str(&state.to_string()).ok());
        headers.extend(rebuilding.map(|value| (axum::http::HeaderName::from_static("pedigraph-rebuilding"), value)));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
}
