//! What goes wrong in this crate.

/// What went wrong and what the caller does about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed or its rows cannot be read: the views must be rebuilt.
    #[error("store: {0}")]
    Store(String),
    /// The ledger cannot be read.
    #[error("ledger: {0}")]
    Ledger(#[from] pedigraph_ledger::Error),
    /// The question breaks a limit or names what is not a moment; the text says what to change.
    #[error("{0}")]
    Question(String),
}
