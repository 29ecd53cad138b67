//! The type of the route table: no route without who may ask.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use crate::access::check::{self, Asks};
use crate::access::scope::Access;
use crate::app::App;
use crate::rates::Class;

/// A route, with what it asks of who asks.
pub struct Route {
    /// `get` or `post`.
    pub method: &'static str,
    /// Its template.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
    /// What kind of work it is; `None` until it is merged.
    pub class: Option<Class>,
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
        self.0.push(Route { method, path, access, class: None, handler });
        self
    }

    /// Adds a resource's routes. They are of a class, but for those that have one of their own already.
    pub fn merge(mut self, class: Class, other: Routes) -> Routes {
        self.0.extend(other.0.into_iter().map(|route| Route { class: route.class.or(Some(class)), ..route }));
        self
    }

    /// Adds routes that have their classes.
    pub fn and(mut self, other: Routes) -> Routes {
        self.0.extend(other.0);
        self
    }

    /// Each of them.
    pub fn listed(&self) -> &[Route] {
        &self.0
    }

    /// Each behind the check of its access.
    pub fn router(self, app: &App) -> Router<App> {
        self.0.into_iter().fold(Router::new(), |router, route| {
            let asks = Asks { access: route.access, class: route.class.unwrap_or(Class::Graph) };
            let check = from_fn_with_state((app.clone(), asks), check::check);
            router.route(route.path, route.handler.route_layer(check))
        })
    }
}
