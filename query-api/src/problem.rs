//! Problems (RFC 9457) with stable codes. A problem travels as an extension of its response; the outermost layer writes
//! its body, because only there the request id is known.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::answer::error::{self as answer, Missing};
use crate::link::Linked;

/// When it is worth asking views again that are folded anew: they show something at once, all of it later.
const FOLDED_ANEW_RETRY_SECONDS: u32 = 2;
/// When a store that failed may have been opened again.
const UNREADABLE_RETRY_SECONDS: u32 = 5;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $status:literal $text:literal $title:literal,)*) => {
        /// Codes of problems, each with one status.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Code { $($(#[$doc])* $variant,)* }
        impl Code {
            /// Every code.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];
            /// As it stands in answers.
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $text,)* } }
            /// What happened, the same text for every occurrence.
            pub fn title(self) -> &'static str { match self { $(Code::$variant => $title,)* } }
            /// HTTP status.
            pub fn status(self) -> u16 { match self { $(Code::$variant => $status,)* } }
        }
    };
}

codes! {
    /// HTTP framing or encoding.
    BadRequest 400 "BAD_REQUEST" "The request cannot be read",
    /// A parameter has a value that is not allowed.
    InvalidParameter 400 "INVALID_PARAMETER" "A parameter has a value that is not allowed",
    /// Not one of ours, or from another question.
    InvalidPageToken 400 "INVALID_PAGE_TOKEN" "The page token does not belong to this question",
    /// `maxDepth` above the limit.
    LineageDepthExceeded 400 "LINEAGE_DEPTH_EXCEEDED" "The depth is above the server's limit",
    /// A diff of a thing and itself.
    LineageDiffInvalid 400 "LINEAGE_DIFF_INVALID" "A diff needs two different artifacts",
    /// A reference names several things.
    AmbiguousReference 400 "AMBIGUOUS_REFERENCE" "The reference names more than one thing",
    /// No token, or one that is unknown or has expired.
    Unauthenticated 401 "UNAUTHENTICATED" "A token is needed",
    /// The token does not allow this.
    ScopeMissing 403 "SCOPE_MISSING" "The token does not allow this",
    /// A page of another site sent this.
    OriginNotAllowed 403 "ORIGIN_NOT_ALLOWED" "Requests of other sites are refused",
    /// Nothing at this path.
    NotFound 404 "NOT_FOUND" "There is nothing here",
    /// Unknown artifact in a lineage question.
    LineageNotFound 404 "LINEAGE_NOT_FOUND" "The artifact is not known",
    /// Unknown artifact.
    ArtifactNotFound 404 "ARTIFACT_NOT_FOUND" "The artifact is not known",
    /// A reference leads nowhere.
    ReferenceNotFound 404 "REFERENCE_NOT_FOUND" "The reference leads to nothing that is known",
    /// Unknown environment.
    EnvironmentNotFound 404 "ENVIRONMENT_NOT_FOUND" "Nobody has named this environment yet",
    /// Nobody says anything of an artifact and a vulnerability.
    VerdictNotFound 404 "VERDICT_NOT_FOUND" "Nobody says anything about this artifact and this vulnerability",
    /// No entry with this index.
    EntryNotFound 404 "ENTRY_NOT_FOUND" "There is no entry with this index",
    /// The path exists for other methods.
    MethodNotAllowed 405 "METHOD_NOT_ALLOWED" "The method is not allowed here",
    /// Head or body came too slowly.
    RequestTimeout 408 "REQUEST_TIMEOUT" "The request came too slowly",
    /// Replay of an entry that is no reject.
    NotAReject 409 "NOT_A_REJECT" "The entry is not a reject",
    /// The body was erased.
    BodyErased 410 "BODY_ERASED" "The received bytes are no longer kept",
    /// A pack would be above a limit.
    LineageExportTooLarge 413 "LINEAGE_EXPORT_TOO_LARGE" "The evidence pack would be larger than the limit",
    /// A request's body is above the limit.
    TooLarge 413 "TOO_LARGE" "The body is larger than the limit",
    /// An answer is above the limit.
    AnswerTooLarge 413 "ANSWER_TOO_LARGE" "The answer is larger than the limit",
    /// Content type or encoding.
    UnsupportedMediaType 415 "UNSUPPORTED_MEDIA_TYPE" "The content type or encoding is not supported",
    /// The `Host` is not this server.
    HostNotAllowed 421 "HOST_NOT_ALLOWED" "The Host header does not name this server",
    /// The header block is above the limit.
    HeadTooLarge 431 "HEAD_TOO_LARGE" "The header block is larger than the limit",
    /// The event was recorded as a reject; the problem's code is the reject's.
    Rejected 422 "REJECTED" "The event was rejected and recorded",
    /// An answer takes more reading, or more time, than one question may cause.
    QueryTooExpensive 422 "QUERY_TOO_EXPENSIVE" "The question costs more than one question may",
    /// The intake queue is full.
    IntakeBusy 429 "INTAKE_BUSY" "The intake queue is full",
    /// A tenant asks too often.
    RateLimited 429 "RATE_LIMITED" "Too many requests in a short time",
    /// Something that should not happen.
    Internal 500 "INTERNAL" "Something went wrong on the server",
    /// The disk is full up to its reserve.
    InsufficientStorage 507 "INSUFFICIENT_STORAGE" "There is no room for new events",
    /// The views are not as far as `minIndex`.
    ProjectionBehind 503 "PROJECTION_BEHIND" "The views do not show all that is asked for yet",
    /// The views are folded anew, or their store failed.
    ViewsUnavailable 503 "VIEWS_UNAVAILABLE" "The views cannot be read at the moment",
    /// Too many requests or reads at once.
    Overloaded 503 "OVERLOADED" "The server has too much to do",
    /// A read took too long.
    ReadTimeout 503 "READ_TIMEOUT" "The answer took too long",
    /// Start-up or shutdown.
    NotReady 503 "NOT_READY" "The server is starting or stopping",
    /// This node only reads.
    IntakeUnavailable 503 "INTAKE_UNAVAILABLE" "This node takes no events",
    /// This node does not have the ledger's key, or its signer does not answer.
    SigningUnavailable 503 "SIGNING_UNAVAILABLE" "This node cannot sign now",
    /// No checkpoint covers the entry yet.
    CheckpointPending 503 "CHECKPOINT_PENDING" "No checkpoint covers this yet",
}

/// A refusal or failure on its way to the client.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    code_text: Option<String>,
    retry_after_seconds: Option<u32>,
    members: Map<String, Value>,
}

impl Problem {
    /// A problem; `detail` says what to change and nothing internal.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem { code, detail: detail.into(), code_text: None, retry_after_seconds: None, members: Map::new() }
    }

    /// A parameter whose value is not allowed.
    pub fn parameter(name: &str, allowed: &str) -> Problem {
        Problem::new(Code::InvalidParameter, format!("{name} must be {allowed}")).member("parameter", name)
    }

    /// A failure of ours: logged here, once; the client gets the request id only.
    pub fn internal(what: &str, error: &dyn std::fmt::Display) -> Problem {
        tracing::error!(%error, "{what}");
        Problem::new(Code::Internal, "report the request id to the operator, who finds the cause in the log")
    }

    /// A question that costs too much; nothing was decided by the part that was read.
    pub fn too_expensive(why: &str) -> Problem {
        let advice = "narrow it: name a subject, a service or one environment, ask for a smaller pageSize or maxDepth, \
                      or for an earlier moment with at=";
        Problem::new(Code::QueryTooExpensive, format!("{why}; {advice}"))
    }

    /// As this one, of something that is recorded all the same.
    pub(crate) fn of_what_is_recorded(mut self) -> Problem {
        self.detail =
            format!("what you sent is recorded, and its receipts come when it is sent again; {}", self.detail);
        self
    }

    /// A problem for a response that came without one, such as axum's own.
    pub fn of_status(status: StatusCode) -> Problem {
        let code = match status.as_u16() {
            401 => Code::Unauthenticated,
            404 => Code::NotFound,
            405 => Code::MethodNotAllowed,
            408 => Code::RequestTimeout,
            413 => Code::TooLarge,
            415 => Code::UnsupportedMediaType,
            429 => Code::IntakeBusy,
            431 => Code::HeadTooLarge,
            503 => Code::Overloaded,
            507 => Code::InsufficientStorage,
            400..500 => Code::BadRequest,
            _ => Code::Internal,
        };
        Problem::new(code, format!("{}; see /openapi.json", code.title().to_ascii_lowercase()))
    }

    /// Another code text: that of a reject.
    pub fn with_code(mut self, code: &str) -> Problem {
        self.code_text = Some(code.to_owned());
        self
    }

    /// A further member.
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u32) -> Problem {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Its code text.
    pub fn code(&self) -> &str {
        self.code_text.as_deref().unwrap_or(self.code.as_str())
    }

    /// Whether it says that the views know nothing of something, which they may learn from entries that they do not
    /// show yet.
    pub fn says_missing(&self) -> bool {
        let codes = [
            Code::LineageNotFound,
            Code::ArtifactNotFound,
            Code::ReferenceNotFound,
            Code::EnvironmentNotFound,
            Code::VerdictNotFound,
        ];
        codes.contains(&self.code)
    }

    /// Whether the views cannot be read at the moment.
    pub(crate) fn is_of_views(&self) -> bool {
        self.code == Code::ViewsUnavailable
    }

    /// Its title.
    pub fn title(&self) -> &'static str {
        self.code.title()
    }

    /// Its detail.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The body for a request.
    pub fn to_json(&self, request_id: &str) -> Value {
        let mut body = json!({
            "type": format!("/openapi.json#{}", self.code()),
            "title": self.code.title(),
            "status": self.code.status(),
            "detail": self.detail,
            "code": self.code(),
            "instance": request_id,
        });
        if let Value::Object(body) = &mut body {
            body.extend(self.members.clone());
        }
        body
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<pedigraph_projector::Error> for Problem {
    fn from(error: pedigraph_projector::Error) -> Problem {
        use pedigraph_projector::Error;
        if let Error::TooExpensive { rows, rows_max, bytes, bytes_max } = &error {
            return Problem::too_expensive(&error.to_string())
                .member("rowsRead", *rows)
                .member("rowsMax", *rows_max)
                .member("bytesRead", *bytes)
                .member("bytesMax", *bytes_max);
        }
        if let Error::Stopped = error {
            return Problem::too_expensive(&error.to_string());
        }
        if let Error::FoldedAnew = error {
            let what = "the views are being folded anew from the ledger, which ended this question unanswered; nothing \
                        is lost, ask again in a moment";
            return Problem::new(Code::ViewsUnavailable, what).retry_after(FOLDED_ANEW_RETRY_SECONDS);
        }
        if let Error::Unreadable(why) = &error {
            tracing::warn!(why, "a question found the store of the views failing");
            let what = "the store of the views failed and is opened again; nothing is lost, ask again in a while";
            return Problem::new(Code::ViewsUnavailable, what).retry_after(UNREADABLE_RETRY_SECONDS);
        }
        if let Error::Question(advice) = error {
            return Problem::new(Code::InvalidParameter, advice);
        }
        Problem::internal("a view cannot be read", &error)
    }
}

impl From<pedigraph_ledger::Error> for Problem {
    fn from(error: pedigraph_ledger::Error) -> Problem {
        Problem::internal("the ledger cannot be read", &error)
    }
}

impl From<crate::json::Error> for Problem {
    fn from(error: crate::json::Error) -> Problem {
        match error {
            crate::json::Error::TooLarge(_) => {
                let detail = format!("{error}; ask for a smaller maxDepth or pageSize");
                Problem::new(Code::AnswerTooLarge, detail)
            }
            crate::json::Error::Failed(error) => Problem::internal("an answer cannot be written", &error),
        }
    }
}

impl From<answer::Error> for Problem {
    fn from(error: answer::Error) -> Problem {
        match error {
            answer::Error::Missing { what, detail, first_at } => {
                let problem = Problem::new(code_of(what), detail);
                first_at.into_iter().fold(problem, |problem, at| problem.member("firstAt", at.to_string()))
            }
            answer::Error::Ambiguous { detail, candidates } => {
                let candidates: Vec<Linked> = candidates.into_iter().map(Linked::from).collect();
                let candidates = serde_json::to_value(candidates).unwrap_or_default();
                Problem::new(Code::AmbiguousReference, detail).member("candidates", candidates)
            }
            answer::Error::Parameter { name, allowed } => Problem::parameter(name, &allowed),
            answer::Error::Same(_) => Problem::new(Code::LineageDiffInvalid, error.to_string()),
            answer::Error::Leaf(_) => Problem::internal("the ledger cannot be read", &error),
            answer::Error::Views(error) => error.into(),
            answer::Error::Ledger(error) => error.into(),
        }
    }
}

fn code_of(missing: Missing) -> Code {
    match missing {
        Missing::Artifact => Code::ArtifactNotFound,
        Missing::Lineage => Code::LineageNotFound,
        Missing::Reference => Code::ReferenceNotFound,
        Missing::Environment => Code::EnvironmentNotFound,
        Missing::Verdict => Code::VerdictNotFound,
        Missing::Entry => Code::EntryNotFound,
        Missing::Body => Code::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_have_an_error_status() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status())));
    }

    #[test]
    fn a_body_has_the_members_of_rfc_9457_and_ours() {
        let body = Problem::parameter("maxDepth", "a number").to_json("r1");
        let expected = json!({
            "type": "/openapi.json#INVALID_PARAMETER", "title": Code::InvalidParameter.title(), "status": 400,
            "detail": "maxDepth must be a number", "code": "INVALID_PARAMETER", "instance": "r1",
            "parameter": "maxDepth",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn every_code_is_documented() {
        let documented = include_str!("../../docs/reject-codes.md");
        for code in Code::ALL {
            let row = format!("| `{}` | {} | {} |", code.as_str(), code.status(), code.title());
            assert!(documented.contains(&row), "{row}");
        }
    }

    #[test]
    fn what_views_do_not_know_may_be_in_entries_that_they_do_not_show() {
        use Missing::{Artifact, Body, Entry, Environment, Lineage, Reference, Verdict};
        let waits = |what: Missing| Problem::new(code_of(what), "").says_missing();
        assert!([Artifact, Environment, Lineage, Reference, Verdict].into_iter().all(waits));
        assert!(![Body, Entry].into_iter().any(waits), "the ledger has these");
    }
}
