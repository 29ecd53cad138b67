//! All routes, and what lies around them.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;

use crate::access::check;
use crate::access::scope::Access;
use crate::app::{App, Config};
use crate::route::Routes;
use crate::{api, layers, openapi, pages};

/// Every route of the server.
pub fn all() -> Routes {
    Routes::new().merge(api::routes()).merge(pages::routes()).merge(openapi::routes())
}

/// The whole HTTP side, to be given to [`serve`](crate::serve()).
pub fn router(config: Config) -> Router {
    let app = App::new(config);
    // What does not exist is not told to strangers either.
    let check = from_fn_with_state((app.clone(), Access::Token), check::check);
    let routes = all()
        .router(&app)
        .fallback(layers::unknown_path.layer(check.clone()))
        .method_not_allowed_fallback(layers::unknown_method.layer(check));
    layers::around(routes, &app).with_state(app)
}
