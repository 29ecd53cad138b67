//! Plain pages, rendered here, usable without any script. What events say is text: escaped, and a link only when it is
//! an http or https address.

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::access::scope::Access;
use crate::pages::frame::{STYLE, STYLE_NAME};
use crate::problem::{Code, Problem};
use crate::rates::Class;
use crate::route::Routes;

pub mod artifact;
pub mod built;
pub mod entry;
pub mod environment;
pub mod frame;
pub mod freshness;
pub mod home;
pub mod impact;
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
        .and(entry::routes())
        .and(freshness::routes())
        .merge(Class::Open, assets())
}

fn assets() -> Routes {
    Routes::new().get("/assets/{name}", Access::Public, asset).get("/favicon.ico", Access::Public, favicon)
}

async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    if name != *STYLE_NAME {
        return Err(Problem::new(Code::NotFound, "no such asset; load the page again"));
    }
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, STYLE).into_response())
}

async fn favicon() -> Response {
    const ICON: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><g fill='none' stroke='#1456b8' \
        stroke-width='2'><path d='M4 3v10M4 6c0 3 8 2 8 5'/></g><g fill='#1456b8'><circle cx='4' cy='3' r='2'/>\
        <circle cx='4' cy='13' r='2'/><circle cx='12' cy='12' r='2'/></g></svg>";
    ([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")], ICON).into_response()
}
