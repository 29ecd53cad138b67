//! Why something did not happen, and what the caller must do.

use std::io;
use std::path::PathBuf;

/// What the caller must do: retry, refuse the input, or stop the process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process writes this ledger.
    #[error("ledger {0} is locked by another process")]
    Locked(PathBuf),
    /// The input breaks a limit or rule; nothing was written.
    #[error("refused: {0}")]
    Refused(String),
    /// What is stored contradicts itself or a published checkpoint: never start, never skip. The text says what to do.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// A signer did not sign: no checkpoint was published, entries go on, and it may be tried again.
    #[error("signer: {0}")]
    Signer(String),
    /// A witness knows another history of a log: nothing more may be signed, and the process must stop. The text says
    /// what to do.
    #[error("fork: {0}")]
    Fork(String),
    /// The disk is full, nothing was written, and the writer goes on: make room and try again.
    #[error("no space left: {0}")]
    Full(String),
    /// The disk failed; the writer is poisoned and the process must stop.
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// For steps before which nothing is named: without room nothing happened, any other failure poisons.
    pub(crate) fn while_preparing(what: &str, error: std::io::Error) -> Error {
        match is_full(&error) {
            true => Error::Full(format!("{what}: {error}")),
            false => Error::Io(error),
        }
    }
}

/// Whether an effect failed for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
