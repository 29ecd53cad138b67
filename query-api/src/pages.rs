//! Plain pages, rendered here, usable without any script. What events say is text: escaped, and a link only when it is
//! an http or https address.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use pedigraph_proto::Nanos;
use pedigraph_proto::canonical::sha256;

use crate::access::Access;
use crate::app::App;
use crate::problem::{Code, Problem};
use crate::read::{Fresh, Read};
use crate::routes::Routes;

pub mod artifact;
pub mod entry;
pub mod environment;
pub mod freshness;
pub mod home;
pub mod search;

/// Nothing but our own stylesheet and form.
pub const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
                       frame-ancestors 'none'";
/// Content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";

const STYLE: &str = include_str!("pages/style.css");
static STYLE_NAME: LazyLock<String> =
    LazyLock::new(|| format!("style-{}.css", hex::encode(&sha256(STYLE.as_bytes())[..8])));

/// Their routes.
pub fn routes() -> Routes {
    Routes::new()
        .merge(home::routes())
        .merge(search::routes())
        .merge(artifact::routes())
        .merge(environment::routes())
        .merge(entry::routes())
        .merge(freshness::routes())
        .get("/assets/{name}", Access::Public, asset)
        .get("/favicon.ico", Access::Public, favicon)
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

/// What surrounds a page's content.
pub struct Frame<'a> {
    /// Title of the document.
    pub title: &'a str,
    /// The same as JSON.
    pub json: &'a str,
    /// The same in a terminal.
    pub command: &'a str,
}

impl App {
    /// Answers a read with a page.
    pub async fn page<F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        F: FnOnce(&pedigraph_projector::Scope, &Read, &Fresh) -> Result<Markup, Problem> + Send + 'static,
    {
        let limit = self.limits().answer_bytes_max;
        let mut response = self
            .bytes(read, HTML, move |scope, read, fresh| {
                let page = ask(scope, read, fresh)?.into_string().into_bytes();
                let advice = "the page is larger than the limit; use the JSON address";
                if page.len() > limit { Err(Problem::new(Code::AnswerTooLarge, advice)) } else { Ok(page) }
            })
            .await?;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
        Ok(response)
    }
}

/// A whole page.
pub fn page(frame: &Frame<'_>, query: &str, fresh: &Fresh, content: &Markup) -> Markup {
    document(
        frame.title,
        query,
        content,
        &html! {
            span { (freshness_line(fresh)) }
            a href=(frame.json) { "JSON" }
            @if !frame.command.is_empty() { span { "CLI: " code { (frame.command) } } }
        },
    )
}

fn freshness_line(fresh: &Fresh) -> String {
    match fresh.as_of {
        Some(index) => format!("as of index {index}, {} ms behind", fresh.lag_ms),
        None => "the ledger is empty".to_owned(),
    }
}

fn document(title: &str, query: &str, content: &Markup, footer: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Pedigraph" }
                link rel="stylesheet" href={ "/assets/" (*STYLE_NAME) };
                link rel="icon" href="/favicon.ico" type="image/svg+xml";
            }
            body {
                a .skip href="#content" { "Skip to content" }
                header {
                    a .name href="/" { "Pedigraph" }
                    form action="/search" method="get" role="search" {
                        label for="q" { "Digest, tag, commit, package, service or environment" }
                        input id="q" name="q" type="search" value=(query) placeholder="digest, app:v1.2, commit, pkg:npm/…, prod" maxlength="4096";
                        button type="submit" { "Search" }
                    }
                    nav aria-label="Main" { a href="/freshness" { "Freshness" } a href="/openapi.json" { "API" } }
                }
                main id="content" { (content) }
                footer { (footer) }
            }
        }
    }
}

/// A problem for a person.
pub fn problem(problem: &Problem, request_id: &str) -> Markup {
    let content = html! {
        h1 { (problem.title()) }
        p { (problem.detail()) }
        dl { dt { "Code" } dd { code { (problem.code()) } } dt { "Request" } dd { code { (request_id) } } }
        p { a href="/" { "Back to the start" } }
    };
    document(problem.title(), "", &content, &html! { span { "status " (problem.status().as_u16()) } })
}

/// A section with a table; the caption says what its rows are, and an empty one says so.
pub fn table(title: &str, caption: &str, columns: &[&str], rows: &[Markup]) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if rows.is_empty() { p .empty { "none recorded" } } @else {
                div .scroll { table {
                    caption { (caption) }
                    thead { tr { @for column in columns { th scope="col" { (column) } } } }
                    tbody { @for row in rows { tr { (row) } } }
                } }
            }
        }
    }
}

/// A moment.
pub fn time(at: Nanos) -> Markup {
    let text = at.to_string();
    let seconds = text.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ");
    html! { time datetime=(text) title=(text) { (seconds) " UTC" } }
}

/// A link to the entry that proves something.
pub fn proof(proof: &pedigraph_projector::answers::Proof) -> Markup {
    html! { a href={ "/entries/" (proof.index) } title={ "leaf " (proof.leaf_hash) } { "#" (proof.index) } }
}

/// A link to an artifact, shown short.
pub fn artifact_link(digest: &str, text: &str) -> Markup {
    html! { a .mono href={ "/artifacts/" (encoded(digest)) } title=(digest) { (text) } }
}

/// A link to an environment.
pub fn environment_link(name: &str) -> Markup {
    html! { a href={ "/environments/" (encoded(name)) } { (name) } }
}

/// `sha256:` and the first twelve hex digits.
pub fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) if hex.len() > 12 && hex.is_ascii() => format!("{algorithm}:{}…", &hex[..12]),
        _ => digest.to_owned(),
    }
}

/// Text of an event: a link only when it is an http or https address.
pub fn text(text: &str) -> Markup {
    let is_link = (text.starts_with("https://") || text.starts_with("http://")) && !text.contains(char::is_whitespace);
    html! { @if is_link { a href=(text) rel="noreferrer nofollow" { (text) } } @else { (text) } }
}

/// A path segment, percent-encoded.
pub fn encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The moment of the question, to be carried from page to page.
pub fn moment_query(read: &Read) -> String {
    let given = ["at", "asOf"].iter().filter_map(|name| Some(format!("{name}={}", encoded(read.params.get(name)?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { query } else { format!("?{query}") }
}

/// The state of the shared parts, for handlers of pages.
pub type Shared = State<App>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_events_say_is_text() {
        assert_eq!(text("<script>alert(1)</script>").into_string(), "&lt;script&gt;alert(1)&lt;/script&gt;");
        assert_eq!(text("javascript:alert(1)").into_string(), "javascript:alert(1)");
        let link = text("https://ci.test/run?a=1&b=\"2\"").into_string();
        assert!(link.starts_with("<a href=\"https://ci.test/run?a=1&amp;b=&quot;2&quot;\""), "{link}");
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("sha256:ab"), "sha256:ab");
        assert_eq!(encoded("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
    }
}
