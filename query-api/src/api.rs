//! The REST resources, one file each.

use crate::route::Routes;

pub mod body;
pub mod components;
pub mod documents;
pub mod entries;
pub mod environments;
pub mod erase;
pub mod events;
pub mod exports;
pub mod freshness;
pub mod health;
pub mod ledger;
pub mod lineage;
pub mod receipt;
pub mod replay;
pub mod stream;
pub mod subscribe;

/// All of them.
pub fn routes() -> Routes {
    Routes::new()
        .merge(events::routes())
        .merge(documents::routes())
        .merge(replay::routes())
        .merge(erase::routes())
        .merge(lineage::routes())
        .merge(exports::routes())
        .merge(environments::routes())
        .merge(components::routes())
        .merge(freshness::routes())
        .merge(subscribe::routes())
        .merge(entries::routes())
        .merge(ledger::routes())
        .merge(health::routes())
}
