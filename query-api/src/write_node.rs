//! What a node that writes can do: the one way from here into the write path.

use std::future::Future;
use std::pin::Pin;

use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Message, Receipt, Refused, Submitted};

/// Something that is under way.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a node that writes can do. A reject is driven again by publishing its bytes with `replay_of`.
pub trait WriteNode: Send + Sync {
    /// Takes a message in and answers when it is durable.
    fn publish(&self, message: Message) -> Pending<Result<Submitted, Refused>>;

    /// Makes the received bytes of an entry go, and answers when they are gone from the disk: with the receipts of the
    /// entries that say so, none if they were gone already.
    fn erase(&self, erasure: Erasure) -> Pending<Result<Vec<Receipt>, NotErased>>;

    /// Why it takes nothing in now, if it does not.
    fn refuses(&self) -> Option<Refused>;
}

/// What is to be erased, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Erasure {
    /// Whose log it is.
    pub tenant: TenantId,
    /// Index of the entry.
    pub index: u64,
    /// Why; it is recorded.
    pub reason: String,
    /// Who; it is recorded, and may be empty.
    pub actor: String,
}

/// Why nothing was erased.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotErased {
    /// The question; the text says what to change.
    #[error("{0}")]
    Refused(String),
    /// The process is about to end.
    #[error("the process is stopping")]
    Stopping,
    /// The disk or the ledger failed.
    #[error("{0}")]
    Failed(String),
}
