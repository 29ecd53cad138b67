//! Pages, rendered here, usable without any script. What events say is text: escaped, and a link only when it is
//! an http or https address.

use crate::rates::Class;
use crate::route::Routes;

pub mod account;
pub mod artifact;
pub mod assets;
pub mod built;
pub mod entries;
pub mod entry;
pub mod environment;
pub mod form;
pub mod frame;
pub mod freshness;
pub mod home;
pub mod impact;
pub mod on_call;
pub mod overview;
pub mod proof;
pub mod search;
pub mod verdict;

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .and(home::routes())
        .and(search::routes())
        .and(artifact::routes())
        .and(environment::routes())
        .and(built::routes())
        .and(impact::routes())
        .and(verdict::routes())
        .and(entries::routes())
        .and(entry::routes())
        .and(on_call::routes())
        .and(overview::routes())
        .and(freshness::routes())
        .and(account::routes())
        .merge(Class::Open, account::open_routes())
        .merge(Class::Open, assets::routes())
}
