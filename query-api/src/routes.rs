//! All routes: what each resource registers, what lies around them.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};

use crate::app::{App, Config};
use crate::{api, layers, openapi, pages};

/// Routes with the list of what was registered, which the OpenAPI document is held against.
pub struct Routes {
    router: Router<App>,
    listed: Vec<(&'static str, &'static str)>,
}

impl Routes {
    /// None.
    pub fn new() -> Routes {
        Routes { router: Router::new(), listed: Vec::new() }
    }

    /// Adds `GET` (and with it `HEAD`).
    pub fn get<T: 'static>(mut self, path: &'static str, handler: impl Handler<T, App>) -> Routes {
        self.router = self.router.route(path, get(handler));
        self.listed.push(("get", path));
        self
    }

    /// Adds `POST`.
    pub fn post<T: 'static>(mut self, path: &'static str, handler: impl Handler<T, App>) -> Routes {
        self.router = self.router.route(path, post(handler));
        self.listed.push(("post", path));
        self
    }

    /// Adds a resource's routes.
    pub fn merge(mut self, other: Routes) -> Routes {
        self.router = self.router.merge(other.router);
        self.listed.extend(other.listed);
        self
    }

    /// (method, path) of each.
    pub fn listed(&self) -> &[(&'static str, &'static str)] {
        &self.listed
    }
}

impl Default for Routes {
    fn default() -> Routes {
        Routes::new()
    }
}

/// Every route of the server.
pub fn all() -> Routes {
    Routes::new().merge(api::routes()).merge(pages::routes()).merge(openapi::routes())
}

/// The whole HTTP side, to be given to [`serve`](crate::serve()).
pub fn router(config: Config) -> Router {
    let app = App::new(config);
    let routes = all().router.fallback(layers::unknown_path).method_not_allowed_fallback(layers::unknown_method);
    layers::around(routes, &app).with_state(app)
}
