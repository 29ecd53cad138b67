//! Why no pack was made.

use crate::answer::error as answer;

/// Why no pack was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of the questions that are asked has no answer.
    #[error(transparent)]
    Answer(#[from] answer::Error),
    /// The pack would be above a limit.
    #[error("{detail}")]
    TooLarge {
        /// Which, and what to ask for instead.
        detail: String,
        /// It.
        limit: u64,
        /// What it limits.
        of: &'static str,
    },
    /// The views are not as far as the checkpoint.
    #[error("the views do not show every entry under the checkpoint yet; try again")]
    Behind,
    /// Nothing is signed yet.
    #[error("the log has no checkpoint yet; try again")]
    NoCheckpoint,
    /// The signer of the ledger's key did not answer.
    #[error("the signer of the ledger's key did not answer: {0}")]
    Signer(String),
    /// The ledger or the disk failed.
    #[error("{0}")]
    Failed(String),
}

impl From<pedigraph_ledger::Error> for Error {
    fn from(error: pedigraph_ledger::Error) -> Error {
        if let pedigraph_ledger::Error::Signer(why) = error {
            return Error::Signer(why);
        }
        Error::Failed(error.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        Error::Failed(error.to_string())
    }
}

impl From<zip::result::ZipError> for Error {
    fn from(error: zip::result::ZipError) -> Error {
        Error::Failed(error.to_string())
    }
}
