//! What every read asks in common: its tenant, its moment, its page, what the client has already.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use pedigraph_projector::{AsOf, Moment};
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::{Nanos, TenantId};

use crate::access::check::Caller;
use crate::access::scope::TokenScope;
use crate::app::App;
use crate::fresh::Fresh;
use crate::params::{Params, decoded, parse_time};
use crate::problem::{Code, Problem};
use crate::tenant::Tenant;
use crate::token::PageToken;

/// Rows of a page when nothing is said.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Most rows of a page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// A request that has this header, whatever it says, is answered with it: the rows of the views that the answer was read
/// from, a look at what is not there counted as one. Where time is noisy this number is exact.
pub const ROWS_READ: &str = "pedigraph-rows-read";

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
    /// When it was asked: the only reading of the clock that an answer hangs on.
    pub now: Nanos,
    /// The index that must be visible.
    pub min_index: Option<u64>,
    /// Who asks may make evidence packs.
    pub(crate) may_export: bool,
    if_none_match: Option<String>,
    /// The answer is to say how many rows it was read from.
    pub(crate) counts_rows: bool,
    question: String,
    /// The answer changes without the log growing.
    pub(crate) volatile: bool,
    /// It asks for lists of verdicts or deltas, whose view may have come less far.
    pub(crate) of_deltas: bool,
    /// The answer says which checkpoint covers what proves it: another one changes it without the log growing.
    pub(crate) sealed: bool,
}

impl FromRequestParts<App> for Read {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Read, Problem> {
        let Ok(Tenant(tenant)) = Tenant::from_request_parts(parts, app).await;
        let now = Nanos(app.now());
        let caller = parts.extensions.get::<Caller>();
        let may_export = caller.is_none_or(|caller| caller.token.scopes.contains(&TokenScope::LineageExport));
        let read = Read::parse(tenant, parts.uri.path(), Params::of(&parts.uri)?, &parts.headers, now)?;
        Ok(Read { may_export, ..read })
    }
}

/// Both clocks of a question.
pub(crate) fn moment_of(params: &Params, now: Nanos) -> Result<Moment, Problem> {
    Ok(Moment { at: params.time("at", now)?, as_of: as_of(params, now)? })
}

impl Read {
    fn parse(tenant: TenantId, path: &str, params: Params, headers: &HeaderMap, now: Nanos) -> Result<Read, Problem> {
        let question = question(&tenant, path, &params);
        let mut moment = moment_of(&params, now)?;
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
            volatile: moves_with_the_clock(path, &params),
            of_deltas: false,
            sealed: false,
            now,
            uri: format!("{path}?{}", params.without(&[])),
            min_index: params.number("minIndex")?,
            may_export: true,
            if_none_match: if_none_match.map(str::to_owned),
            counts_rows: headers.contains_key(ROWS_READ),
            question,
            params,
        })
    }

    /// The answer changes without the log growing, so its `ETag` is made of its bytes.
    pub fn volatile(mut self) -> Read {
        self.volatile = true;
        self
    }

    /// It asks for lists of verdicts or deltas: the answer is as of what their view has come to.
    pub fn of_deltas(mut self) -> Read {
        self.of_deltas = true;
        self
    }

    /// The answer says which checkpoint covers what proves it.
    pub fn sealed(mut self) -> Read {
        self.sealed = true;
        self
    }

    /// The question of another path and other parameters.
    pub(crate) fn question_of(&self, path: &str, params: &Params) -> String {
        question(&self.tenant, path, params)
    }

    /// The size of a page, of a list that has another one where none is asked for.
    pub(crate) fn page_size_or(&self, default: usize) -> usize {
        let is_asked = ["pageSize", "limit"].iter().any(|name| self.params.get(name).is_some());
        if is_asked { self.page_size } else { default }
    }

    /// The token of the next page.
    pub fn next(&self, fresh: &Fresh, key: Option<Vec<u8>>) -> Option<String> {
        Some(PageToken { as_of: fresh.as_of, key: key? }.encode(&self.question))
    }

    /// Whose question it is, and what is asked, both clocks included, but for the page.
    pub(crate) fn question(&self) -> &str {
        &self.question
    }

    pub(crate) fn etag(&self, fresh: &Fresh) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let sealed = fresh.checkpoint.map(|of| format!("{} {} ", of.size, of.cosignatures)).unwrap_or_default();
        // A page has a button for who may make packs.
        let may = if self.may_export { "" } else { "may not export " };
        let hash = sha256(format!("{version} {sealed}{may}{} {}", self.question, self.uri).as_bytes());
        let index = fresh.as_of.map_or_else(|| "empty".to_owned(), |index| index.to_string());
        format!("W/\"{index}-{}\"", hex::encode(&hash[..8]))
    }

    pub(crate) fn is_known(&self, etag: &str) -> bool {
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let known = self.if_none_match.as_deref().unwrap_or_default();
        known.split(',').any(|tag| strong(tag) == strong(etag))
    }

    /// Whether the client has the answer of this name, or wants none.
    pub(crate) fn needs_none(&self, etag: &str) -> bool {
        self.is_known(etag) || self.knows_any()
    }

    /// Whether the client has some answer and wants none, whichever it is (`If-None-Match: *`).
    pub(crate) fn knows_any(&self) -> bool {
        self.if_none_match.as_deref().is_some_and(|known| known.trim() == "*")
    }
}

/// All that selects and orders rows.
fn question(tenant: &TenantId, path: &str, params: &Params) -> String {
    format!("{tenant} {path}?{}", params.without(&["pageToken", "pageSize", "limit", "minIndex"]))
}

/// Whether a question has an age in it, such as `prod@{2h}` or `at=2h`: its answer changes while the log does not.
fn moves_with_the_clock(path: &str, params: &Params) -> bool {
    let is_age = |name: &str| params.get(name).is_some_and(|text| text.trim_end().ends_with(['s', 'm', 'h', 'd', 'w']));
    let path = decoded(path, b'+').unwrap_or_default();
    // These are references elsewhere, of which none is a number and a unit.
    let is_plain_age = |name: &str| {
        let digits = params.get(name).and_then(|text| text.trim().strip_suffix(['s', 'm', 'h', 'd', 'w']));
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_plain_age("from")
        || is_plain_age("to")
        || path.contains("@{")
        || params.any_contains("@{")
        || is_age("at")
        || is_age("asOf")
}

fn as_of(params: &Params, now: Nanos) -> Result<Option<AsOf>, Problem> {
    let Some(text) = params.get("asOf") else { return Ok(None) };
    if let Ok(index) = text.parse() {
        return Ok(Some(AsOf::Index(index)));
    }
    let advice = "a ledger index, a time, such as 2026-08-14T12:47:00Z, or an age, such as 2h";
    parse_time(text, now).map(|time| Some(AsOf::Time(time))).ok_or_else(|| Problem::parameter("asOf", advice))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fresh::Sealed;

    const NOW: &str = "2026-08-14T15:00:00Z";

    fn parse_at(path: &str, query: &[(&str, &str)]) -> Result<Read, String> {
        let params = Params(query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let (tenant, now) = (TenantId::default(), Nanos::parse(NOW).expect("a time"));
        Read::parse(tenant, path, params, &HeaderMap::new(), now).map_err(|problem| problem.code().to_owned())
    }

    fn parse(query: &[(&str, &str)]) -> Result<Read, String> {
        parse_at("/x", query)
    }

    #[test]
    fn both_clocks_are_read() {
        let at = |text: &str| parse(&[("at", text)]).map(|read| read.moment.at.map(|at| at.to_string()));
        assert_eq!(at("2026-08-14T12:47:00Z"), Ok(Some("2026-08-14T12:47:00Z".into())));
        assert_eq!(at("2026-08-14T12:47:00+02:00"), Ok(Some("2026-08-14T10:47:00Z".into())));
        assert_eq!(at("2026-08-14T12:47:00 02:00"), Ok(Some("2026-08-14T10:47:00Z".into())));
        assert_eq!(at("90m"), Ok(Some("2026-08-14T13:30:00Z".into())));
        assert_eq!(at("2026-08-14T12:47Z"), Ok(Some("2026-08-14T12:47:00Z".into())));
        assert_eq!(at(""), Ok(None));
        for bad in ["yesterday", "12", "1960-01-01T00:00:00Z", "é é:é1"] {
            assert_eq!(at(bad), Err("INVALID_PARAMETER".into()), "{bad}");
        }
        let known = |text: &str| parse(&[("asOf", text)]).map(|read| read.moment.as_of);
        assert_eq!(known("12"), Ok(Some(AsOf::Index(12))));
        let time = Nanos::parse("2026-08-14T12:47:00Z").expect("a time");
        assert_eq!(known("2026-08-14T12:47:00Z"), Ok(Some(AsOf::Time(time))));
        let day_before = Nanos::parse("2026-08-13T15:00:00Z").expect("a time");
        assert_eq!(known("1d"), Ok(Some(AsOf::Time(day_before))));
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
        let token = first
            .next(&Fresh { as_of: Some(4), lag_ms: 0, rebuilding: None, checkpoint: None }, Some(b"k".to_vec()))
            .expect("a token");
        let second = parse(&[("env", "prod"), ("pageToken", &token), ("pageSize", "7")]).expect("a read");
        assert_eq!((second.moment.as_of, second.after), (Some(AsOf::Index(4)), Some(b"k".to_vec())));
        assert_eq!(parse(&[("env", "other"), ("pageToken", &token)]), Err("INVALID_PAGE_TOKEN".into()));
        assert_eq!(parse(&[("pageToken", "x")]), Err("INVALID_PAGE_TOKEN".into()));
    }

    #[test]
    fn an_age_anywhere_moves_with_the_clock() {
        let volatile = |path: &str, query: &[(&str, &str)]| parse_at(path, query).map(|read| read.volatile);
        for (path, query) in [
            ("/api/v1/artifacts/prod%40%7B3h%7D", &[][..]),
            ("/api/v1/artifacts/prod@{3h}", &[]),
            ("/api/v1/resolve", &[("q", "prod@{3h}/cart")]),
            ("/api/v1/environments/prod", &[("at", "3h")]),
            ("/api/v1/environments/prod/diff", &[("from", "3h")]),
            ("/api/v1/environments/prod/diff", &[("to", "30m")]),
            ("/api/v1/environments/prod", &[("asOf", "3h")]),
        ] {
            assert_eq!(volatile(path, query), Ok(true), "{path} {query:?}");
        }
        assert_eq!(volatile("/api/v1/environments/prod", &[("at", NOW), ("asOf", "7")]), Ok(false));
        assert_eq!(volatile("/api/v1/lineage/diff", &[("from", "app:third"), ("to", "d")]), Ok(false));
    }

    #[test]
    fn an_etag_changes_with_index_and_question_and_checkpoint() {
        let mut read = parse(&[("env", "prod")]).expect("a read");
        let of = |as_of: u64, checkpoint: Option<Sealed>| Fresh {
            as_of: Some(as_of),
            lag_ms: 0,
            rebuilding: None,
            checkpoint,
        };
        let (four, sealed) = (of(4, None), |size: u64, cosignatures: usize| Some(Sealed { size, cosignatures }));
        let etag = read.etag(&four);
        assert_ne!(etag, read.etag(&of(5, None)));
        assert_ne!(etag, parse(&[("env", "test")]).expect("a read").etag(&four));
        assert_ne!(etag, parse(&[("env", "prod"), ("pageSize", "5")]).expect("a read").etag(&four));
        let under: BTreeSet<String> =
            [None, sealed(5, 0), sealed(5, 1), sealed(6, 0)].map(|checkpoint| read.etag(&of(4, checkpoint))).into();
        assert_eq!(under.len(), 4);
        assert!(!read.is_known(&etag));
        read.if_none_match = Some(format!("\"a\", {etag}"));
        assert!(read.is_known(&etag) && !read.is_known("W/\"b\""));
    }
}
