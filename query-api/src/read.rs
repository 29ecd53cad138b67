//! What every read has in common: its tenant, its two clocks, pages, freshness headers, conditional requests, limits.

use std::fmt::Display;
use std::io::Write;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::{AsOf, Moment, Scope, Views};
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::{Nanos, TenantId};
use serde::Serialize;

use crate::app::{App, log_of};
use crate::problem::{Code, Problem};
use crate::token::PageToken;

/// Rows of a page when nothing is said.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most rows of a page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// JSON.
pub const JSON: &str = "application/json";
/// Text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Whose data is asked for: the token's tenant, which [`access`](crate::access) puts among the request's extensions. It never comes
/// from a URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant(pub TenantId);

impl FromRequestParts<App> for Tenant {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Tenant, Problem> {
        Ok(parts.extensions.get::<Tenant>().cloned().unwrap_or_else(|| Tenant(TenantId::default())))
    }
}

/// The query's parameters, in order. Unknown ones are ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The first value of a name; an empty one counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A value that must be there.
    pub fn need(&self, name: &str, what: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::parameter(name, what))
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|_| Problem::parameter(name, "a whole number, 0 or more"));
        self.get(name).map(parse).transpose()
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(default),
            Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(_) => Err(Problem::parameter(name, "true or false")),
        }
    }

    /// A moment. A `+` of a zone that became a space on its way is understood.
    pub fn time(&self, name: &str) -> Result<Option<Nanos>, Problem> {
        self.get(name).map(|text| parse_time(text).ok_or_else(|| Problem::parameter(name, TIME_ADVICE))).transpose()
    }

    fn without(&self, names: &[&str]) -> impl Display {
        let kept = self.0.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        kept.map(|(key, value)| format!("{}:{key}={}:{value}&", key.len(), value.len())).collect::<String>()
    }
}

const TIME_ADVICE: &str = "a time in RFC 3339 later than 1970, such as 2026-08-14T12:47:00Z";

fn parse_time(text: &str) -> Option<Nanos> {
    let zone_at = text.len().checked_sub(6).filter(|at| text.is_char_boundary(*at));
    match zone_at.map(|at| text.split_at(at)) {
        Some((moment, zone))
            if zone.starts_with(' ') && zone.ends_with(|c: char| c.is_ascii_digit()) && zone.contains(':') =>
        {
            Nanos::parse(&format!("{moment}+{}", zone.trim_start())).or_else(|| Nanos::parse(text))
        }
        _ => Nanos::parse(text),
    }
}

/// A read request, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Read {
    /// Whose data.
    pub tenant: TenantId,
    /// Both clocks; a page token pins the second.
    pub moment: Moment,
    /// The query.
    pub params: Params,
    /// Rows of a page.
    pub page_size: usize,
    /// Key of the page's first row.
    pub after: Option<Vec<u8>>,
    /// Path and query as asked.
    pub uri: String,
    min_index: Option<u64>,
    if_none_match: Option<String>,
    question: String,
    volatile: bool,
}

impl FromRequestParts<App> for Read {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Read, Problem> {
        let Tenant(tenant) = Tenant::from_request_parts(parts, app).await?;
        let params = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(Code::BadRequest, "the query cannot be read; percent-encode it"))?;
        Read::parse(tenant, parts.uri.path(), Params(params.0), &parts.headers)
    }
}

impl Read {
    fn parse(tenant: TenantId, path: &str, params: Params, headers: &HeaderMap) -> Result<Read, Problem> {
        let paging = ["pageToken", "pageSize", "limit", "minIndex"];
        let question = format!("{tenant} {path}?{}", params.without(&paging));
        let mut moment = Moment { at: params.time("at")?, as_of: as_of(&params)? };
        let token = page_token(&params, &question)?;
        if let Some(index) = token.as_ref().and_then(|token| token.as_of) {
            moment.as_of = Some(AsOf::Index(index));
        }
        let if_none_match = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        Ok(Read {
            tenant,
            moment,
            page_size: page_size(&params)?,
            after: token.map(|token| token.key),
            // `prod@{2h}` moves with the clock, not with the log.
            volatile: params.get("ref").is_some_and(|reference| reference.contains("@{")) || path.contains("@{"),
            uri: format!("{path}?{}", params.without(&[])),
            min_index: params.number("minIndex")?,
            if_none_match: if_none_match.map(str::to_owned),
            question,
            params,
        })
    }

    /// The answer changes without the log growing, so its `ETag` is made of its bytes.
    pub fn volatile(mut self) -> Read {
        self.volatile = true;
        self
    }

    /// The token of the next page.
    pub fn next(&self, fresh: &Fresh, key: Option<Vec<u8>>) -> Option<String> {
        Some(PageToken { as_of: fresh.as_of, key: key? }.encode(&self.question))
    }

    fn etag(&self, as_of: Option<u64>) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let hash = sha256(format!("{version} {} {}", self.question, self.uri).as_bytes());
        let index = as_of.map_or_else(|| "empty".to_owned(), |index| index.to_string());
        format!("W/\"{index}-{}\"", hex::encode(&hash[..8]))
    }

    /// For answers that change without the index: their bytes name them.
    fn tagged_by_content(&self, content_type: &'static str, body: Vec<u8>) -> Response {
        let etag = format!("W/\"{}\"", hex::encode(&sha256(&body)[..16]));
        if self.is_known(&etag) { not_modified(&etag) } else { tagged(content_type, body, &etag) }
    }

    fn is_known(&self, etag: &str) -> bool {
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let known = self.if_none_match.as_deref().unwrap_or_default();
        known.trim() == "*" || known.split(',').any(|tag| strong(tag) == strong(etag))
    }
}

fn as_of(params: &Params) -> Result<Option<AsOf>, Problem> {
    let Some(text) = params.get("asOf") else { return Ok(None) };
    if let Ok(index) = text.parse() {
        return Ok(Some(AsOf::Index(index)));
    }
    let advice = "a ledger index or a time in RFC 3339, such as 2026-08-14T12:47:00Z";
    parse_time(text).map(|time| Some(AsOf::Time(time))).ok_or_else(|| Problem::parameter("asOf", advice))
}

fn page_size(params: &Params) -> Result<usize, Problem> {
    let name = if params.get("limit").is_some() { "limit" } else { "pageSize" };
    let size = params.number(name)?.unwrap_or(PAGE_SIZE_DEFAULT);
    if (1..=PAGE_SIZE_MAX).contains(&size) { Ok(size) } else { Err(Problem::parameter(name, "1 to 1000")) }
}

fn page_token(params: &Params, question: &str) -> Result<Option<PageToken>, Problem> {
    let refused = || Problem::new(Code::InvalidPageToken, "ask for the first page again, without pageToken");
    params.get("pageToken").map(|text| PageToken::decode(text, question).ok_or_else(refused)).transpose()
}

/// How fresh an answer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fresh {
    /// The newest index that it uses; `None` for an empty log.
    pub as_of: Option<u64>,
    /// Age of the oldest entry that the views do not show yet, milliseconds.
    pub lag_ms: u64,
}

fn tagged(content_type: &'static str, body: Vec<u8>, etag: &str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::ETAG, etag)], body).into_response()
}

fn not_modified(etag: &str) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response()
}

impl Fresh {
    fn write(&self, headers: &mut HeaderMap) {
        if let Some(index) = self.as_of {
            headers.insert("pedigraph-as-of", HeaderValue::from(index));
        }
        headers.insert("pedigraph-lag-ms", HeaderValue::from(self.lag_ms));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
}

impl App {
    /// Answers a read with JSON.
    pub async fn json<T, F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        T: Serialize,
        F: FnOnce(&Scope, &Read, &Fresh) -> Result<T, Problem> + Send + 'static,
    {
        let limit = self.limits().answer_bytes_max;
        self.bytes(read, JSON, move |scope, read, fresh| to_json(&ask(scope, read, fresh)?, limit)).await
    }

    /// Answers a read with bytes of a content type: waits for `minIndex`, asks at one consistent scope, says how fresh.
    pub async fn bytes<F>(&self, read: Read, content_type: &'static str, ask: F) -> Result<Response, Problem>
    where
        F: FnOnce(&Scope, &Read, &Fresh) -> Result<Vec<u8>, Problem> + Send + 'static,
    {
        let views = self.views()?.clone();
        self.wait_for_min_index(&views, &read).await?;
        let now = self.now();
        self.blocking(move || {
            let scope = views.at(&read.tenant, read.moment)?;
            let fresh = Fresh { as_of: scope.as_of(), lag_ms: views.lag_ms(&read.tenant, now) };
            let etag = (!read.volatile).then(|| read.etag(fresh.as_of));
            let mut response = match etag {
                Some(etag) if read.is_known(&etag) => not_modified(&etag),
                Some(etag) => tagged(content_type, ask(&scope, &read, &fresh)?, &etag),
                None => read.tagged_by_content(content_type, ask(&scope, &read, &fresh)?),
            };
            fresh.write(response.headers_mut());
            Ok(response)
        })
        .await
    }

    /// Answers from the ledger alone, which may be ahead of the views, with JSON.
    pub async fn ledger_json<T, F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        T: Serialize,
        F: FnOnce(&Reader, &LogId) -> Result<T, Problem> + Send + 'static,
    {
        let limit = self.limits().answer_bytes_max;
        let asked = read.clone();
        self.ledger_response(read, move |ledger, log| {
            Ok(asked.tagged_by_content(JSON, to_json(&ask(ledger, log)?, limit)?))
        })
        .await
    }

    /// Answers from the ledger alone.
    pub async fn ledger_response<F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        F: FnOnce(&Reader, &LogId) -> Result<Response, Problem> + Send + 'static,
    {
        let app = self.clone();
        let log = log_of(&read.tenant)?;
        self.blocking(move || {
            let head = app.ledger().head(&log);
            let lag_ms = app.config.views.get().map_or(0, |views| views.lag_ms(&read.tenant, app.now()));
            let fresh = Fresh { as_of: head.size.checked_sub(1), lag_ms };
            let mut response = ask(app.ledger(), &log)?;
            fresh.write(response.headers_mut());
            Ok(response)
        })
        .await
    }

    async fn wait_for_min_index(&self, views: &Views, read: &Read) -> Result<(), Problem> {
        let Some(index) = read.min_index else { return Ok(()) };
        if views.wait_visible(&read.tenant, index, self.limits().min_index_wait).await {
            return Ok(());
        }
        let visible = views.visible(&read.tenant);
        let detail =
            format!("index {index} is not visible yet ({visible} entries are); try again, or leave minIndex out");
        Err(Problem::new(Code::ProjectionBehind, detail).retry_after(1))
    }
}

/// JSON of at most `limit` bytes; never more is held.
pub fn to_json(value: &impl Serialize, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut writer = Limited { bytes: Vec::new(), limit };
    match serde_json::to_writer(&mut writer, value) {
        Ok(()) => Ok(writer.bytes),
        Err(error) if error.is_io() => Err(too_large(limit)),
        Err(error) => Err(Problem::internal("an answer cannot be written", &error)),
    }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the answer is larger than {limit} bytes; ask for a smaller maxDepth or pageSize");
    Problem::new(Code::AnswerTooLarge, detail)
}

struct Limited {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Limited {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + part.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &[(&str, &str)]) -> Result<Read, String> {
        let params = Params(query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        Read::parse(TenantId::default(), "/x", params, &HeaderMap::new()).map_err(|problem| problem.code().to_owned())
    }

    #[test]
    fn both_clocks_are_read() {
        let at = |text: &str| parse(&[("at", text)]).map(|read| read.moment.at.map(|at| at.to_string()));
        assert_eq!(at("2026-08-14T12:47:00Z"), Ok(Some("2026-08-14T12:47:00Z".into())));
        assert_eq!(at("2026-08-14T12:47:00+02:00"), Ok(Some("2026-08-14T10:47:00Z".into())));
        assert_eq!(at("2026-08-14T12:47:00 02:00"), Ok(Some("2026-08-14T10:47:00Z".into())));
        assert_eq!(at(""), Ok(None));
        for bad in ["yesterday", "12", "1960-01-01T00:00:00Z", "é é:é1"] {
            assert_eq!(at(bad), Err("INVALID_PARAMETER".into()), "{bad}");
        }
        let known = |text: &str| parse(&[("asOf", text)]).map(|read| read.moment.as_of);
        assert_eq!(known("12"), Ok(Some(AsOf::Index(12))));
        let time = Nanos::parse("2026-08-14T12:47:00Z").expect("a time");
        assert_eq!(known("2026-08-14T12:47:00Z"), Ok(Some(AsOf::Time(time))));
        assert_eq!(known("-1"), Err("INVALID_PARAMETER".into()));
    }

    #[test]
    fn page_sizes_have_bounds_and_tokens_pin_the_index() {
        assert_eq!(parse(&[]).map(|read| read.page_size), Ok(100));
        assert_eq!(parse(&[("pageSize", "1000")]).map(|read| read.page_size), Ok(1_000));
        for bad in ["0", "1001", "-1", "many"] {
            assert_eq!(parse(&[("pageSize", bad)]), Err("INVALID_PARAMETER".into()), "{bad}");
        }
        let first = parse(&[("env", "prod")]).expect("a read");
        let token = first.next(&Fresh { as_of: Some(4), lag_ms: 0 }, Some(b"k".to_vec())).expect("a token");
        let second = parse(&[("env", "prod"), ("pageToken", &token), ("pageSize", "7")]).expect("a read");
        assert_eq!((second.moment.as_of, second.after), (Some(AsOf::Index(4)), Some(b"k".to_vec())));
        assert_eq!(parse(&[("env", "other"), ("pageToken", &token)]), Err("INVALID_PAGE_TOKEN".into()));
        assert_eq!(parse(&[("pageToken", "x")]), Err("INVALID_PAGE_TOKEN".into()));
    }

    #[test]
    fn an_etag_changes_with_index_and_question() {
        let mut read = parse(&[("env", "prod")]).expect("a read");
        let etag = read.etag(Some(4));
        assert_ne!(etag, read.etag(Some(5)));
        assert_ne!(etag, parse(&[("env", "test")]).expect("a read").etag(Some(4)));
        assert_ne!(etag, parse(&[("env", "prod"), ("pageSize", "5")]).expect("a read").etag(Some(4)));
        assert!(!read.is_known(&etag));
        read.if_none_match = Some(format!("\"a\", {etag}"));
        assert!(read.is_known(&etag) && !read.is_known("W/\"b\""));
    }

    #[test]
    fn an_answer_is_cut_off_at_its_limit() {
        assert_eq!(to_json(&"abc", 5).expect("fits"), b"\"abc\"");
        assert_eq!(to_json(&"abcd", 5).expect_err("does not fit").code(), "ANSWER_TOO_LARGE");
    }
}
