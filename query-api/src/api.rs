//! The REST resources, one file each.

use crate::rates::Class;
use crate::route::Routes;

pub mod artifacts;
pub mod body;
pub mod components;
pub mod deltas;
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
pub mod vulnerabilities;

/// All of them.
pub fn routes() -> Routes {
    Routes::new()
        .merge(Class::Intake, events::routes())
        .merge(Class::Uploads, documents::routes())
        .merge(Class::Intake, replay::routes())
        .merge(Class::Intake, erase::routes())
        .merge(Class::Graph, lineage::routes())
        .merge(Class::Graph, artifacts::routes())
        .merge(Class::Export, exports::routes())
        .merge(Class::Graph, environments::routes())
        .merge(Class::Graph, components::routes())
        .merge(Class::Graph, vulnerabilities::routes())
        .merge(Class::Graph, deltas::routes())
        .merge(Class::Graph, freshness::routes())
        .merge(Class::Streams, subscribe::routes())
        .merge(Class::Graph, entries::routes())
        .merge(Class::Open, ledger::routes())
        .merge(Class::Probes, health::routes())
}
