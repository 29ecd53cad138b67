//! Pages, rendered here, usable without any script. What events say is text: escaped, and a link only when it is
//! an http or https address.

use crate::rates::Class;
use crate::route::Routes;

pub mod account;
pub mod artifact;
pub mod assets;
pub mod badges;
pub mod built;
pub mod card;
pub mod compare;
pub mod compared;
pub mod csv;
pub mod deltas;
pub mod entries;
pub mod entry;
pub mod environment;
pub mod environments_compared;
pub mod evidence_pack;
pub mod form;
pub mod frame;
pub mod freshness;
pub mod gutter;
pub mod home;
pub mod impact;
pub mod lanes;
pub mod names;
pub mod on_call;
pub mod overview;
pub mod pinned;
pub mod proof;
pub mod search;
pub mod service;
pub mod timeline;
pub mod verdict;
pub mod versions;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .and(home::routes())
        .and(search::routes())
        .and(artifact::routes())
        .and(lanes::routes())
        .and(card::routes())
        .and(compare::routes())
        .and(environment::routes())
        .and(service::routes())
        .and(built::routes())
        .and(impact::routes())
        .and(verdict::routes())
        .and(entries::routes())
        .and(deltas::routes())
        .and(entry::routes())
        .and(on_call::routes())
        .and(overview::routes())
        .and(freshness::routes())
        .and(account::routes())
        .and(evidence_pack::routes())
        .merge(Class::Open, account::open_routes())
        .merge(Class::Open, assets::routes())
}
