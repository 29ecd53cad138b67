//! What goes wrong in this crate.

/// What went wrong and what the caller does about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed or its rows cannot be read: the views must be rebuilt.
    #[error("store: {0}")]
    Store(String),
    /// A fold, or the store below it, panicked: the views go on from what is stored, or are folded anew.
    #[error("panic: {0}")]
    Panicked(String),
    /// The ledger cannot be read.
    #[error("ledger: {0}")]
    Ledger(#[from] pedigraph_ledger::Error),
    /// The question breaks a limit or names what is not a moment; the text says what to change.
    #[error("{0}")]
    Question(String),
    /// The answer takes more reading than one question may cause: ask for less. Nothing was decided by what was read.
    #[error("the answer takes reading {rows} rows and {bytes} bytes or more; {rows_max} and {bytes_max} are allowed")]
    TooExpensive {
        /// Rows that were read.
        rows: u64,
        /// Rows that may be read.
        rows_max: u64,
        /// Bytes that were read.
        bytes: u64,
        /// Bytes that may be read.
        bytes_max: u64,
    },
    /// The views are folded anew, which ended the question: ask again in a moment. Nothing was decided by what was read.
    #[error("the views are being folded anew; ask again")]
    FoldedAnew,
    /// The store gave a question nothing, since it failed: it is opened again meanwhile, so ask again in a while.
    #[error("the store of the views cannot be read: {0}")]
    Unreadable(String),
    /// The question was told to end: its time is over, or nobody waits for the answer.
    #[error("the question was told to end")]
    Stopped,
}

impl Error {
    /// A page's key that is none of the list that was asked for.
    pub(crate) fn foreign_page() -> Error {
        Error::Question("the page token is not one of this list: begin again without it".to_owned())
    }
}
