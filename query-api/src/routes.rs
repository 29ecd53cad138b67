//! All routes: what each resource registers and for whom, what lies around them.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use crate::access::{self, Access};
use crate::app::{App, Config};
use crate::{api, layers, openapi, pages};

/// A route, with what it asks of who asks.
pub struct Route {
    /// `get` or `post`.
    pub method: &'static str,
    /// Its template.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    handler: MethodRouter<App>,
}

/// Routes. There is no way to add one without saying who may ask; the OpenAPI document is held against them.
#[derive(Default)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// None.
    pub fn new() -> Routes {
        Routes::default()
    }

    /// Adds `GET` (and with it `HEAD`).
    pub fn get<T: 'static>(self, path: &'static str, access: Access, handler: impl Handler<T, App>) -> Routes {
        self.add("get", path, access, get(handler))
    }

    /// Adds `POST`.
    pub fn post<T: 'static>(self, path: &'static str, access: Access, handler: impl Handler<T, App>) -> Routes {
        self.add("post", path, access, post(handler))
    }

    fn add(mut self, method: &'static str, path: &'static str, access: Access, handler: MethodRouter<App>) -> Routes {
        self.0.push(Route { method, path, access, handler });
        self
    }

    /// Adds a resource's routes.
    pub fn merge(mut self, other: Routes) -> Routes {
        self.0.extend(other.0);
        self
    }

    /// Each of them.
    pub fn listed(&self) -> &[Route] {
        &self.0
    }

    /// Each behind the check of its access.
    fn router(self, app: &App) -> Router<App> {
        self.0.into_iter().fold(Router::new(), |router, route| {
            let check = from_fn_with_state((app.clone(), route.access), access::check);
            router.route(route.path, route.handler.route_layer(check))
        })
    }
}

/// Every route of the server.
pub fn all() -> Routes {
    Routes::new().merge(api::routes()).merge(pages::routes()).merge(openapi::routes())
}

/// The whole HTTP side, to be given to [`serve`](crate::serve()).
pub fn router(config: Config) -> Router {
    let app = App::new(config);
    // What does not exist is not told to strangers either.
    let check = from_fn_with_state((app.clone(), Access::Token), access::check);
    let routes = all()
        .router(&app)
        .fallback(layers::unknown_path.layer(check.clone()))
        .method_not_allowed_fallback(layers::unknown_method.layer(check));
    layers::around(routes, &app).with_state(app)
}
