//! From facts to rows: one folder per view, each with its rows and its fold. Nothing here asks or runs.

pub(crate) mod components;
pub(crate) mod deltas;
pub(crate) mod deployments;
pub(crate) mod entries;
pub(crate) mod findings;
pub(crate) mod lineage;
pub(crate) mod lines;
pub(crate) mod own;
pub(crate) mod undescribed;
pub(crate) mod view;

use pedigraph_proto::{Digest, TenantId};
use serde::de::DeserializeOwned;

use self::view::View;
use crate::error::Error;
use crate::rows::stamp::Stamped;
use crate::store::Store;
use crate::store::key::Key;

/// Byte of derived views in keys.
const DERIVED: u8 = b'D';

/// Where the rows of a derived view begin, by its byte.
pub(crate) fn derived_key(tenant: &TenantId, view: u8) -> Key {
    Key::new(tenant, DERIVED).byte(view)
}

/// What holds below an (index, ordinal) of a thing whose keys go on with since when.
fn newest_below<T: DeserializeOwned>(
    store: &dyn Store,
    key: &Key,
    below: (u64, u32),
) -> Result<Option<Stamped<T>>, Error> {
    let row = store.scan(key.as_bytes(), key.clone().since(below).as_bytes(), true, 1)?.pop();
    row.map(|(_, bytes)| Stamped::decode(&bytes)).transpose()
}

/// A digest's canonical text; `None` for what is none. That of empty content names nothing: it would join strangers.
fn digest(text: &str) -> Option<String> {
    let digest = text.parse::<Digest>().ok().filter(|digest| !digest.is_of_empty_content())?;
    Some(digest.to_string())
}

/// Every view, in the order in which they fold.
#[derive(Default)]
pub(crate) struct ViewSet {
    pub(crate) intake: entries::Intake,
    pub(crate) lineage: lineage::LineageFacts,
    pub(crate) components: components::Components,
    pub(crate) deployments: deployments::Deployments,
    pub(crate) findings: findings::Findings,
}

impl ViewSet {
    pub(crate) fn all(&self) -> [&dyn View; 5] {
        [&self.intake, &self.lineage, &self.components, &self.deployments, &self.findings]
    }
}
