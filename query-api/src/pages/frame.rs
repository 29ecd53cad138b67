//! What surrounds a page, and the parts that pages are made of.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, html};
use pedigraph_projector::answers::{Candidate, Running, ServiceState};
use pedigraph_proto::Nanos;
use pedigraph_proto::shown::{shown, shown_lines};

use crate::app::App;
use crate::fresh::Fresh;
use crate::link::encoded;
use crate::pages::assets::address;
use crate::pages::form::{local, sign_in};
use crate::pages::names::wrapped;
use crate::pages::pinned;
use crate::problem::{Code, Problem};
use crate::read::Read;

/// Nothing but our own stylesheet, modules, answers and forms.
pub const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                       connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Bytes of a name that a page shows; decoders take names of 1 KiB.
const NAME_BYTES_MAX: usize = 1_024;
/// Content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";

/// Parameters that say of which moment something is asked.
const MOMENT: [&str; 2] = ["at", "asOf"];

/// An address with the moment of the question.
pub fn at_moment(address: &str, read: &Read) -> String {
    with(address, &query_of(&MOMENT, read))
}

/// An address of another moment, by what was known for the question.
pub fn as_of_known(address: &str, read: &Read) -> String {
    with(address, &query_of(&["asOf"], read))
}

fn with(address: &str, query: &str) -> String {
    if address.contains('?') {
        format!("{address}{}", query.replacen('?', "&", 1))
    } else {
        format!("{address}{query}")
    }
}

/// The moment of the question, to be carried from page to page.
pub fn moment_query(read: &Read) -> String {
    query_of(&MOMENT, read)
}

fn query_of(names: &[&str], read: &Read) -> String {
    let given = names.iter().filter_map(|name| Some(format!("{name}={}", encoded(read.params.get(name)?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { query } else { format!("?{query}") }
}

/// The command line's options for the moment of a question.
pub fn moment_options(read: &Read) -> String {
    let option = |(name, option): (&str, &str)| Some(format!(" {option} {}", quoted(read.params.get(name)?)));
    [("at", "--at"), ("asOf", "--as-of")].into_iter().filter_map(option).collect()
}

/// What surrounds a page's content.
pub struct Frame<'a> {
    /// Title of the document.
    pub title: &'a str,
    /// The same as JSON.
    pub json: &'a str,
    /// The same in a terminal.
    pub command: &'a str,
    /// What was asked.
    pub read: &'a Read,
}

impl App {
    /// Answers a read with a page. One that is larger than an answer may be is made again with half of its rows, and
    /// leads to the others: no page is taken away for ever by what somebody called something.
    pub async fn page<F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        F: Fn(&pedigraph_projector::Scope, &Read, &Fresh) -> Result<Markup, Problem> + Clone + Send + 'static,
    {
        let limit = self.limits().answer_bytes_max;
        let mut response = self
            .bytes(read, HTML, move |scope, read, fresh| {
                let mut read = read.clone();
                loop {
                    let page = written(ask(scope, &read, fresh)?).into_bytes();
                    let advice = "the page is larger than the limit; use the JSON address";
                    match page.len() <= limit {
                        true => return Ok(page),
                        false if read.page_size > 1 => read.page_size /= 2,
                        false => return Err(Problem::new(Code::AnswerTooLarge, advice)),
                    }
                }
            })
            .await?;
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
        Ok(response)
    }
}

/// A page as a browser gets it. Whatever of it an event said, a reader sees all of it: characters that are not seen, or
/// that turn the writing of others, are written out. Pages themselves have none but the line ends of `pre`, and markup
/// is never made of what an event said, so that all of a page can be gone through at once.
pub fn written(page: Markup) -> String {
    let page = page.into_string();
    let mut written = String::with_capacity(page.len());
    let mut rest = page.as_str();
    while let Some((before, after)) = rest.split_once("<pre") {
        let (lines, after) = after.split_once("</pre>").unwrap_or((after, ""));
        written.push_str(&shown(before));
        written.push_str("<pre");
        written.push_str(&shown_lines(lines));
        written.push_str("</pre>");
        rest = after;
    }
    written.push_str(&shown(rest));
    written
}

/// A whole page.
pub fn page(frame: &Frame<'_>, query: &str, fresh: &Fresh, content: &Markup) -> Markup {
    let content = html! {
        @if let Some(state) = fresh.rebuilding {
            p .warn role="status" {
                "The views are being folded anew and show " (state.folded) " of " (state.of)
                " entries: what stands here may be older than what was here before."
            }
        }
        (content)
    };
    document(
        frame.title,
        query,
        &content,
        &html! {
            span data-as-of=[fresh.as_of] { (freshness_line(fresh)) }
            @if let Some(address) = pinned::address(frame.read, fresh) {
                span { a href=(address) rel="bookmark" { "Link to this answer" } (copy("Copy the link to this answer")) }
            }
            a href=(frame.json) { "JSON" }
            @if !frame.command.is_empty() { span { "CLI: " (command(frame.command)) } }
        },
    )
}

/// Cluster and namespace, as far as they are said.
pub fn place_of(cluster: Option<&str>, namespace: Option<&str>) -> String {
    [cluster, namespace].into_iter().flatten().collect::<Vec<_>>().join("/")
}

/// The same of something that runs, behind what it is called.
pub fn place_chip(running: &Running) -> Markup {
    let place = place_of(running.cluster.as_deref(), running.namespace.as_deref());
    html! { @if !place.is_empty() { " " span .chip { (place) } } }
}

/// How much of a service that runs is not listed.
pub fn rest_of(service: &ServiceState, listed: usize) -> Option<String> {
    not_listed(&service.running, service.running_cut, listed, service.running_at_least)
}

/// How much runs beyond what is listed, of which an answer has left some out; and perhaps more than was looked at.
pub fn not_listed(running: &[Running], cut: u64, listed: usize, at_least: bool) -> Option<String> {
    let rest = cut + running.len().saturating_sub(listed) as u64;
    let words = if at_least { "at least " } else { "" };
    (rest > 0 || at_least).then(|| format!("{words}{rest} more run that are not listed"))
}

/// A command for a terminal, with a button that copies it.
pub fn command(text: &str) -> Markup {
    copied(text, "Copy the command")
}

/// A text for elsewhere, with a button that copies it.
pub fn copied(text: &str, label: &str) -> Markup {
    html! { code { (text) } (copy(label)) }
}

/// A button that copies what stands before it (`copy.js`); it is not shown where there are no scripts.
fn copy(label: &str) -> Markup {
    html! { " " button .plain.copy type="button" aria-label=(label) { "Copy" } }
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
                link rel="stylesheet" href=(address("style.css"));
                script type="module" src=(address("page.js")) {}
                link rel="icon" href="/favicon.ico" type="image/svg+xml";
            }
            body {
                a .skip href="#content" { "Skip to content" }
                header {
                    a .name href="/" { "Pedigraph" }
                    form action="/search" method="get" role="search" {
                        label for="q" { "Digest, image, tag, commit, package, vulnerability, service or environment" }
                        input id="q" name="q" type="search" value=(query) placeholder="digest, app:v1.2, commit, pkg:npm/…, CVE-…, prod" maxlength="4096";
                        button type="submit" { "Search" }
                    }
                    (navigation())
                }
                main id="content" { (content) }
                footer { (footer) a href="/account" { "Account" } }
            }
        }
    }
}

/// What every page leads to.
fn navigation() -> Markup {
    const PLACES: [(&str, &str); 5] = [
        ("/on-call", "On call"),
        ("/overview", "Overview"),
        ("/entries", "Ledger"),
        ("/freshness", "Freshness"),
        ("/openapi.json", "API"),
    ];
    html! { nav aria-label="Main" { @for (address, name) in PLACES { a href=(address) { (name) } } } }
}

/// A part of a page that a browser with scripts keeps up to date, by its name on the page (`live.js`). What was asked of
/// a fixed moment, or is a further page of a list, stays as it is.
pub fn live(name: &str, read: &Read, content: &Markup) -> Markup {
    let is_fixed = ["at", "asOf", "pageToken"].iter().any(|fixed| read.params.get(fixed).is_some());
    html! { @if is_fixed { (content) } @else { div data-live=(name) { (content) } } }
}

/// A page about no data: it is read from nothing, and kept by nobody.
pub fn notice(title: &str, content: &Markup) -> Response {
    let headers =
        [(header::CONTENT_TYPE, HTML), (header::CONTENT_SECURITY_POLICY, CSP), (header::CACHE_CONTROL, "no-store")];
    (headers, written(document(title, "", content, &html! {}))).into_response()
}

/// A problem for a person who asked for an address; what they searched for stays in the box.
pub fn problem(problem: &Problem, query: &str, request_id: &str, address: &str) -> Markup {
    let content = html! {
        h1 { (problem.title()) }
        @if problem.status() == StatusCode::UNAUTHORIZED {
            (sign_in(address))
            p { "Signed in already, and came here from another site? " a href=(local(address)) { "Open this page again" } }
        }
        p { (problem.detail()) }
        dl { dt { "Code" } dd { code { (problem.code()) } } dt { "Request" } dd { code { (request_id) } } }
        p { a href="/" { "Back to the start" } }
    };
    document(problem.title(), query, &content, &html! { span { "status " (problem.status().as_u16()) } })
}

/// A section with a table; the caption says what its rows are, and an empty one says so.
pub fn table(title: &str, caption: &str, columns: &[&str], rows: &[Markup]) -> Markup {
    // What is wider than the window is scrolled with the keys, too: by a link in it, else by itself.
    let has_link = rows.iter().any(|row| row.0.contains("<a "));
    let (stop, role) = if has_link { (None, None) } else { (Some("0"), Some("region")) };
    html! {
        section {
            h2 { (title) }
            @if rows.is_empty() { p .empty { "none recorded" } } @else {
                div .scroll tabindex=[stop] role=[role] aria-label=[stop.map(|_| title)] { table {
                    caption { (caption) }
                    thead { tr { @for column in columns { th scope="col" { (column) } } } }
                    tbody { @for row in rows { tr { (row) } } }
                } }
            }
        }
    }
}

/// What to do where nothing is known.
pub fn how_to_send() -> Markup {
    html! {
        p {
            "It may not have been sent yet. " (command("pedigraph publish FILE")) " sends an event, an SBOM, a scan, VEX or "
            "provenance; pipelines post the same to " code { "/api/v1/events" } "."
        }
    }
}

/// Parameters that say which part of a list is asked for.
pub const PAGING: [&str; 4] = ["pageToken", "pageSize", "limit", "minIndex"];

/// What was asked, as it was asked, but for some parameters; others may follow.
pub fn asked_again(path: &str, read: &Read, without: &[&str]) -> String {
    let asked = read.params.0.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    let asked: String = asked.map(|(name, value)| format!("{}={}&", encoded(name), encoded(value))).collect();
    format!("{path}?{asked}")
}

/// The same list, further on.
pub fn next_page(path: &str, token: &str, read: &Read) -> String {
    format!("{}pageSize={}&pageToken={}", asked_again(path, read, &PAGING), read.page_size, encoded(token))
}

/// The moment of the question as fields of a form, so that what it asks is asked of the same one.
pub fn moment_fields(read: &Read) -> Markup {
    html! {
        @for name in MOMENT {
            @if let Some(value) = read.params.get(name) { input type="hidden" name=(name) value=(value); }
        }
    }
}

/// A link to the next page, where there is one.
pub fn further(next: Option<&str>) -> Markup {
    html! { @if let Some(next) = next { p { "More follow. " a href=(next) rel="next" { "Next page" } } } }
}

/// A list of artifacts, each with its page, and what to send when it is empty.
pub fn artifacts(title: &str, caption: &str, none: &str, artifacts: &[Candidate], read: &Read) -> Markup {
    let row = |artifact: &Candidate| {
        let address = at_moment(&format!("/artifacts/{}", encoded(&artifact.id)), read);
        html! {
            th scope="row" { a href=(address) { (artifact.label) } }
            td .mono title=(artifact.id) { (short(&artifact.id)) }
        }
    };
    let rows: Vec<Markup> = artifacts.iter().map(row).collect();
    html! {
        @if rows.is_empty() {
            p .empty { (none) }
            (how_to_send())
        } @else {
            (table(title, caption, &["Artifact", "Digest"], &rows))
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

/// A link to an artifact at the moment of the question; its card opens beside it.
pub fn artifact_link(digest: &str, text: &str, read: &Read) -> Markup {
    let address = at_moment(&format!("/artifacts/{}", encoded(digest)), read);
    html! { a .mono href=(address) title=(digest) { (wrapped(text)) } }
}

/// What runs: its page where its digest is known, else a search for what it is called.
pub fn running_link(digest: Option<&str>, reference: &str, read: &Read) -> Markup {
    html! { @match digest { Some(digest) => (artifact_link(digest, reference, read)), None => (search_link(reference, read)) } }
}

/// A search for a name at the moment of the question.
pub fn search_link(name: &str, read: &Read) -> Markup {
    html! { a .mono href=(search_address(name, read)) { (wrapped(name)) } }
}

/// Where a name is searched for.
pub fn search_address(name: &str, read: &Read) -> String {
    at_moment(&format!("/search?q={}", encoded(name)), read)
}

/// Where it is told who says what of an artifact and a vulnerability.
pub fn verdict_address(digest: &str, vulnerability: &str, read: &Read) -> String {
    at_moment(&format!("/artifacts/{}/verdicts/{}", encoded(digest), encoded(vulnerability)), read)
}

/// A link to an environment at the moment of the question. Names as long as early versions took them are shown by their
/// beginning, and lead nowhere: no address can be so long.
pub fn environment_link(name: &str, read: &Read) -> Markup {
    let shown = clipped(name);
    let address = at_moment(&format!("/environments/{}", encoded(name)), read);
    html! {
        @if shown.len() == name.len() { a href=(address) { (name) } }
        @else { span { (shown) "…" } " " span .chip { (name.len()) " bytes" } }
    }
}

/// The beginning of a name, as far as a table shows it.
fn clipped(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_BYTES_MAX)]
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
    html! { @if is_link { a href=(text) rel="noreferrer nofollow" { (text) } } @else { bdi { (text) } } }
}

/// A status in its colour, and always as a word too.
pub fn status(word: &str) -> Markup {
    let class = match word {
        "accepted" | "found" => "good",
        "rejected" | "missing" => "bad",
        _ => "warn",
    };
    html! { span class=(class) { (word) } }
}

/// One word for a shell.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:/@+=,%".contains(&b);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_events_say_is_text() {
        assert_eq!(text("<script>alert(1)</script>").into_string(), "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>");
        assert_eq!(text("javascript:alert(1)").into_string(), "<bdi>javascript:alert(1)</bdi>");
        let link = text("https://ci.test/run?a=1&b=\"2\"").into_string();
        assert!(link.starts_with("<a href=\"https://ci.test/run?a=1&amp;b=&quot;2&quot;\""), "{link}");
    }

    #[test]
    fn what_is_not_seen_is_written_out_and_lines_stay_lines() {
        let name = "a\u{202e}b\n<pre>";
        let page = html! { p title=(name) { (name) } pre { "1\n2\u{9b}" } pre tabindex="0" { "3\n4" } i { "\t" } };
        let shown = "a[U+202E]b[U+000A]&lt;pre&gt;";
        let wanted = format!("<p title=\"{shown}\">{shown}</p><pre>1\n2[U+009B]</pre><pre tabindex=\"0\">3\n4</pre>");
        assert_eq!(written(page), format!("{wanted}<i>[U+0009]</i>"));
    }

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(quoted("app:v1.2"), "app:v1.2");
        assert_eq!(quoted("a b'; rm"), "'a b'\\''; rm'");
    }
}
