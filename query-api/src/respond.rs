//! How every read is answered: at one consistent scope, with what the answer was read from, once per state.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use pedigraph_ledger::{LogId, Reader};
use pedigraph_projector::{Scope, Views};
use pedigraph_proto::canonical::sha256;
use serde::Serialize;

use crate::app::App;
use crate::behind::Behind;
use crate::cache::{Cached, are_silent};
use crate::fresh::{Fresh, Sealed};
use crate::json::{self, to_json};
use crate::problem::{Code, Problem};
use crate::read::{ROWS_READ, Read};
use crate::tenant::log_of;

/// JSON.
pub const JSON: &str = "application/json";
/// Text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// The client has this very answer.
pub(crate) fn not_modified(etag: &str) -> Response {
    (StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response()
}

impl App {
    fn tagged(&self, read: &Read, content_type: &'static str, body: Vec<u8>, etag: &str) -> Result<Response, Problem> {
        let body = self.body_of(&read.tenant, body)?;
        Ok(([(header::CONTENT_TYPE, content_type), (header::ETAG, etag)], body).into_response())
    }

    /// For answers that change without the index: their bytes name them.
    pub(crate) fn tagged_by_content(
        &self,
        read: &Read,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Response, Problem> {
        let etag = format!("W/\"{}\"", hex::encode(&sha256(&body)[..16]));
        match read.needs_none(&etag) {
            true => Ok(not_modified(&etag)),
            false => self.tagged(read, content_type, body, &etag),
        }
    }

    /// Answers a read with JSON.
    pub async fn json<T, F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        T: Serialize,
        F: Fn(&Scope, &Read, &Fresh) -> Result<T, Problem> + Clone + Send + 'static,
    {
        let limit = self.limits().answer_bytes_max;
        self.bytes(read, JSON, move |scope, read, fresh| Ok(to_json(&ask(scope, read, fresh)?, limit)?)).await
    }

    /// As [`App::json`], of an answer that is kept while it is known to be the same, unless the question moves with the
    /// clock; who asks what an answer is read from has it read. The checkpoint of a sealed answer is added to what is
    /// kept: a newer one is said at once.
    pub async fn kept_json<T, F>(&self, of: Cached, read: Read, ask: F) -> Result<Response, Problem>
    where
        T: Serialize,
        F: Fn(&Scope, &Read, &Fresh) -> Result<T, Problem> + Clone + Send + 'static,
    {
        let app = self.clone();
        self.bytes(read, JSON, move |scope, read, fresh| {
            let answer = app.kept_or(of, scope, read, fresh, &ask)?;
            Ok(match fresh.checkpoint {
                Some(checkpoint) => checkpoint.said_in(answer),
                None => answer,
            })
        })
        .await
    }

    fn kept_or<T: Serialize>(
        &self,
        of: Cached,
        scope: &Scope,
        read: &Read,
        fresh: &Fresh,
        ask: &impl Fn(&Scope, &Read, &Fresh) -> Result<T, Problem>,
    ) -> Result<Vec<u8>, Problem> {
        let limit = self.limits().answer_bytes_max;
        let Some(as_of) = fresh.as_of.filter(|_| !read.volatile && !read.counts_rows) else {
            return Ok(to_json(&ask(scope, read, fresh)?, limit)?);
        };
        let (question, log) = (read.question(), log_of(&read.tenant)?);
        let is_silent = |indexes| are_silent(self.ledger(), &log, indexes);
        let known = self.kept.get(of, question, as_of, read.now.0, is_silent);
        self.metrics.kept(of, known.is_some());
        if let Some(known) = known {
            return Ok(known.to_vec());
        }
        let answer = to_json(&ask(scope, read, fresh)?, limit)?;
        // Badges that are behind the answer become others without it.
        if !scope.shows_all_deltas() {
            return Ok(answer);
        }
        self.kept.put(question.to_owned(), as_of, read.now.0, Bytes::copy_from_slice(&answer));
        Ok(answer)
    }

    fn sealed(&self, log: &LogId) -> Option<Sealed> {
        let checkpoint = self.ledger().checkpoint(log)?;
        Some(Sealed { size: checkpoint.size, cosignatures: checkpoint.cosignatures() })
    }

    /// Answers a read with a page of a list. A page whose rows are larger than an answer may be ends earlier, with a
    /// token for the rest, so that no list is cut off for ever by what is in it.
    pub async fn list<T, F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        T: Serialize,
        F: Fn(&Scope, &Read, &Fresh) -> Result<T, Problem> + Clone + Send + 'static,
    {
        let limit = self.limits().answer_bytes_max;
        let fitting = move |scope: &Scope, read: &Read, fresh: &Fresh| {
            let mut read = read.clone();
            loop {
                match to_json(&ask(scope, &read, fresh)?, limit) {
                    Err(json::Error::TooLarge(_)) if read.page_size > 1 => read.page_size /= 2,
                    written => return Ok(written?),
                }
            }
        };
        self.bytes(read, JSON, fitting).await
    }

    /// Answers a read with bytes of a content type. That something is not there is said only by views that show every
    /// entry which the ledger held when the question came: else they are waited for, or the answer is 503.
    pub async fn bytes<F>(&self, read: Read, content_type: &'static str, ask: F) -> Result<Response, Problem>
    where
        F: Fn(&Scope, &Read, &Fresh) -> Result<Vec<u8>, Problem> + Clone + Send + 'static,
    {
        let views = self.views()?.clone();
        self.has_room_for_answers(&read.tenant)?;
        self.wait_for_min_index(&views, &read).await?;
        let (answer, behind) = self.ask(&views, &read, content_type, ask.clone()).await?;
        let (Err(problem), Some(behind)) = (&answer, behind) else { return answer };
        if !problem.says_missing() {
            return answer;
        }
        let last = behind.asked.saturating_sub(1);
        let caught_up = behind.rebuilding.is_none() && self.waited_for(&views, &read, last).await;
        if caught_up { self.ask(&views, &read, content_type, ask).await?.0 } else { Err(behind.problem()) }
    }

    /// The answer, and how far the views were behind the question.
    async fn ask<F>(
        &self,
        views: &Views,
        read: &Read,
        content_type: &'static str,
        ask: F,
    ) -> Result<(Result<Response, Problem>, Option<Behind>), Problem>
    where
        F: Fn(&Scope, &Read, &Fresh) -> Result<Vec<u8>, Problem> + Send + 'static,
    {
        let (app, views, read, tenant) = (self.clone(), views.clone(), read.clone(), read.tenant.clone());
        self.blocking_of(Some(&tenant), self.limits().of_answer(), move |meter| {
            let at = if read.of_deltas { Views::at_deltas } else { Views::at };
            let scope = at(&views, &read.tenant, read.moment)?.asked_at(read.now).within(meter.clone());
            let log = log_of(&read.tenant)?;
            let behind = Behind::of(&scope, read.moment.as_of, app.ledger(), &log, &app.at_start)?;
            let fresh = Fresh {
                as_of: scope.as_of(),
                lag_ms: match read.of_deltas {
                    true => views.lag_ms_of_deltas(&read.tenant, read.now.0),
                    false => views.lag_ms(&read.tenant, read.now.0),
                },
                rebuilding: behind.and_then(|behind| behind.rebuilding),
                checkpoint: read.sealed.then(|| app.sealed(&log)).flatten(),
            };
            let mut answer = app.answer(&scope, &read, &fresh, content_type, ask);
            if let Some(response) = answer.as_mut().ok().filter(|_| read.counts_rows) {
                response.headers_mut().insert(ROWS_READ, HeaderValue::from(meter.rows()));
            }
            Ok((answer, behind))
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
        let (app, asked) = (self.clone(), read.clone());
        self.ledger_response(read, move |ledger, log| {
            app.tagged_by_content(&asked, JSON, to_json(&ask(ledger, log)?, limit)?)
        })
        .await
    }

    /// Answers from the ledger alone.
    pub async fn ledger_response<F>(&self, read: Read, ask: F) -> Result<Response, Problem>
    where
        F: FnOnce(&Reader, &LogId) -> Result<Response, Problem> + Send + 'static,
    {
        self.has_room_for_answers(&read.tenant)?;
        let (app, tenant) = (self.clone(), read.tenant.clone());
        let log = log_of(&read.tenant)?;
        self.blocking_of(Some(&tenant), self.limits().of_answer(), move |_| {
            let head = app.ledger().head(&log);
            let lag_ms = app.config.views.get().map_or(0, |views| views.lag_ms(&read.tenant, read.now.0));
            let fresh = Fresh { as_of: head.size.checked_sub(1), lag_ms, rebuilding: None, checkpoint: None };
            let mut response = ask(app.ledger(), &log)?;
            fresh.write(response.headers_mut());
            Ok(response)
        })
        .await
    }

    /// Whether the views that a question uses show an index in time.
    async fn waited_for(&self, views: &Views, read: &Read, index: u64) -> bool {
        let timeout = self.limits().min_index_wait;
        match read.of_deltas {
            true => views.wait_deltas(&read.tenant, index, timeout).await,
            false => views.wait_visible(&read.tenant, index, timeout).await,
        }
    }

    async fn wait_for_min_index(&self, views: &Views, read: &Read) -> Result<(), Problem> {
        let Some(index) = read.min_index else { return Ok(()) };
        if self.waited_for(views, read, index).await {
            return Ok(());
        }
        let visible = views.visible(&read.tenant);
        let detail =
            format!("index {index} is not visible yet ({visible} entries are); try again, or leave minIndex out");
        Err(Problem::new(Code::ProjectionBehind, detail).retry_after(1))
    }

    fn answer<F>(
        &self,
        scope: &Scope,
        read: &Read,
        fresh: &Fresh,
        content_type: &'static str,
        ask: F,
    ) -> Result<Response, Problem>
    where
        F: Fn(&Scope, &Read, &Fresh) -> Result<Vec<u8>, Problem>,
    {
        // Badges and verdicts that are behind the answer become others without another index.
        let etag = (!read.volatile && scope.shows_all_deltas()).then(|| read.etag(fresh));
        let mut response = match etag {
            Some(etag) if read.is_known(&etag) => not_modified(&etag),
            Some(etag) => {
                // `*` is any answer that there is (RFC 9110 §13.1.2): first there must be one.
                let body = ask(scope, read, fresh)?;
                if read.knows_any() { not_modified(&etag) } else { self.tagged(read, content_type, body, &etag)? }
            }
            None => self.tagged_by_content(read, content_type, ask(scope, read, fresh)?)?,
        };
        fresh.write(response.headers_mut());
        Ok(response)
    }
}
