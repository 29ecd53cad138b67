//! All routes, and what lies around them.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;

use crate::access::check::{self, Asks};
use crate::access::scope::Access;
use crate::app::{App, Config};
use crate::rates::Class;
use crate::route::Routes;
use crate::{api, layers, openapi, pages};

/// Every route of the server.
pub fn all() -> Routes {
    Routes::new().and(api::routes()).merge(Class::Graph, pages::routes()).merge(Class::Open, openapi::routes())
}

/// The whole HTTP side, without sockets; [`serve`](crate::server::serve) has it on one.
pub fn router(config: Config) -> Router {
    router_of(&App::new(config))
}

/// The whole HTTP side of a server.
pub(crate) fn router_of(app: &App) -> Router {
    finished(all(), app)
}

/// Probes and metrics of a server, for a listener of their own.
pub(crate) fn probes_of(app: &App) -> Router {
    finished(Routes::new().merge(Class::Probes, api::health::routes()), app)
}

fn finished(routes: Routes, app: &App) -> Router {
    // What does not exist is not told to strangers either.
    let asks = Asks { access: Access::Token, class: Class::Graph };
    let check = from_fn_with_state((app.clone(), asks), check::check);
    let routes = routes
        .router(app)
        .fallback(layers::unknown_path.layer(check.clone()))
        .method_not_allowed_fallback(layers::unknown_method.layer(check));
    layers::around(routes, app).with_state(app.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_has_a_class_and_every_class_but_waiters_a_route() {
        let all = all();
        let classless: Vec<_> = all.listed().iter().filter(|route| route.class.is_none()).map(|r| r.path).collect();
        assert_eq!(classless, [""; 0]);
        let used: BTreeSet<Class> = all.listed().iter().filter_map(|route| route.class).collect();
        let beside = BTreeSet::from([Class::Waiters]);
        assert_eq!(used.union(&beside).copied().collect::<BTreeSet<_>>(), Class::ALL.into());
    }
}
