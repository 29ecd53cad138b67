//! What a view is: a pure function from facts to insert-only rows.

use pedigraph_proto::wire::{Entry, Fact};
use pedigraph_proto::{Event, Nanos, TenantId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::key::Key;
use crate::store::Store;
use crate::views::Error;

/// One fact where it stands in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct FactAt<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Index of its entry in the tenant's log.
    pub index: u64,
    /// Position among the entry's facts, over all chunks.
    pub ordinal: u32,
    /// The leaf, decoded.
    pub entry: &'a Entry,
    /// The leaf's hash.
    pub leaf_hash: &'a [u8; 32],
    /// When it happened: the fact's own time, else the entry's.
    pub occurred_at: Nanos,
    /// The fact.
    pub fact: &'a Fact,
    /// What it says.
    pub event: &'a Event,
}

/// What a fold may do: read rows of its own view, insert rows. The runner hashes every insert into the view root.
pub struct Rows<'a> {
    pub(crate) store: &'a dyn Store,
    /// Inserted in this step and not yet in the store, in order.
    pub(crate) inserted: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Rows<'_> {
    /// Inserts a row (postcard). Inserting a key twice with another value is a fault of the fold.
    pub fn put(&mut self, key: Key, value: &impl Serialize) -> Result<(), Error> {
        let _ = (key, value);
        unimplemented!()
    }

    /// Reads a row of this or an earlier step.
    pub fn get<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, Error> {
        let _ = (key, self.store);
        unimplemented!()
    }
}

/// A view: its name and its fold.
pub trait View: Send + Sync {
    /// Name in progress, metrics and streams.
    fn name(&self) -> &'static str;
    /// Folds one fact.
    fn fold(&self, at: &FactAt<'_>, rows: &mut Rows<'_>) -> Result<(), Error>;
}
