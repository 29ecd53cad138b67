//! `/assets/{version}/{name}`: the stylesheet and the modules of the pages, as they were when the server was built.
//!
//! The version is a hash of all of them. So an address never changes its content, and modules import each other by name.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pedigraph_proto::canonical::sha256;

use crate::access::scope::Access;
use crate::problem::{Code, Problem};
use crate::route::Routes;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

struct Asset {
    name: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// All of them. A module does nothing on a page without what it is for; `page.js` imports each.
const ALL: &[Asset] = &[
    Asset { name: "style.css", content_type: CSS, text: include_str!("assets/style.css") },
    Asset { name: "page.js", content_type: JS, text: include_str!("assets/page.js") },
    Asset { name: "copy.js", content_type: JS, text: include_str!("assets/copy.js") },
    Asset { name: "keys.js", content_type: JS, text: include_str!("assets/keys.js") },
    Asset { name: "live.js", content_type: JS, text: include_str!("assets/live.js") },
    Asset { name: "proof.js", content_type: JS, text: include_str!("assets/proof.js") },
    Asset { name: "search.js", content_type: JS, text: include_str!("assets/search.js") },
    Asset { name: "hovercard.js", content_type: JS, text: include_str!("assets/hovercard.js") },
    Asset { name: "lanes.js", content_type: JS, text: include_str!("assets/lanes.js") },
    Asset { name: "timeline.js", content_type: JS, text: include_str!("assets/timeline.js") },
    Asset { name: "times.js", content_type: JS, text: include_str!("assets/times.js") },
];

/// Changes whenever one of them does.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let named: String = ALL.iter().map(|asset| format!("{}\0{}\0", asset.name, asset.text)).collect();
    hex::encode(&sha256(named.as_bytes())[..8])
});

/// Where an asset is.
pub fn address(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// Their routes.
pub fn routes() -> Routes {
    Routes::new().get("/assets/{version}/{name}", Access::Public, asset).get("/favicon.ico", Access::Public, favicon)
}

async fn asset(Path((version, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let found = ALL.iter().find(|asset| asset.name == name).filter(|_| version == *VERSION);
    let asset = found.ok_or_else(|| Problem::new(Code::NotFound, "no such asset; load the page again"))?;
    let headers =
        [(header::CONTENT_TYPE, asset.content_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.text).into_response())
}

async fn favicon() -> Response {
    const ICON: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><g fill='none' stroke='#1456b8' \
        stroke-width='2'><path d='M4 3v10M4 6c0 3 8 2 8 5'/></g><g fill='#1456b8'><circle cx='4' cy='3' r='2'/>\
        <circle cx='4' cy='13' r='2'/><circle cx='12' cy='12' r='2'/></g></svg>";
    ([(header::CONTENT_TYPE, "image/svg+xml"), (header::CACHE_CONTROL, "public, max-age=86400")], ICON).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_stay_small() {
        let modules: Vec<&Asset> = ALL.iter().filter(|asset| asset.content_type == JS).collect();
        assert!(modules.iter().map(|module| module.text.len()).sum::<usize>() < 60_000);
        let long: Vec<_> = modules.iter().filter(|module| module.text.lines().count() >= 200).map(|m| m.name).collect();
        assert_eq!(long, [""; 0]);
        let page = modules.iter().find(|module| module.name == "page.js").expect("page.js").text;
        for module in modules.iter().filter(|module| module.name != "page.js") {
            assert!(page.contains(&format!("\"./{}\"", module.name)), "page.js imports {}", module.name);
        }
    }
}
