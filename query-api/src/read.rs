//! What every read has in common: its tenant, its two clocks, pages, freshness headers, conditional requests, limits.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::{AsOf, Moment, Scope, Views};
use pedigraph_proto::TenantId;
use pedigraph_proto::canonical::sha256;
use serde::Serialize;

use crate::app::App;
use crate::json::to_json;
use crate::params::{Params, parse_time};
use crate::problem::{Code, Problem};
use crate::tenant::{Tenant, log_of};
use crate::token::PageToken;

/// Rows of a page when nothing is said.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most rows of a page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// JSON.
pub const JSON: &str = "application/json";
/// Text.
pub const TEXT: &str = "text/plain; charset=utf-8";

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
        let Ok(Tenant(tenant)) = Tenant::from_request_parts(parts, app).await;
        Read::parse(tenant, parts.uri.path(), Params::of(&parts.uri)?, &parts.headers)
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
        self.bytes(read, JSON, move |scope, read, fresh| Ok(to_json(&ask(scope, read, fresh)?, limit)?)).await
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

#[cfg(test)]
mod tests {
    use pedigraph_proto::Nanos;

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
}
