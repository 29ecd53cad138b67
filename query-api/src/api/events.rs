//! `POST /api/v1/events`: one event, a batch, ndjson or a bare document (SPEC §2.1).

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{self, Message};
use pedigraph_proto::wire::Origin;

use crate::access::scope::{Access, TokenScope};
use crate::api::{body, receipt};
use crate::app::App;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::route::Routes;
use crate::tenant::Tenant;
use crate::trace;

/// The source's name in counts.
pub const SOURCE: &str = "http";

/// Its routes.
pub fn routes() -> Routes {
    Routes::new().post("/api/v1/events", Access::Needs(TokenScope::EventsWrite), post)
}

/// What can be said beside the body.
#[derive(Clone, Default, Debug)]
pub struct Beside {
    subject: Option<String>,
    format: Option<String>,
    wait_visible: bool,
}

impl Beside {
    /// From the query.
    pub fn of(uri: &Uri) -> Result<Beside, Problem> {
        let params = Params::of(uri)?;
        let wait_visible = match params.once("wait")? {
            None | Some("durable") => false,
            Some("visible") => true,
            Some(_) => return Err(Problem::parameter("wait", "visible or durable")),
        };
        let text = |name: &str| Ok::<_, Problem>(params.once(name)?.map(str::to_owned));
        Ok(Beside { subject: text("subject")?, format: text("format")?, wait_visible })
    }

    /// Whether to answer only when the views show it.
    pub fn wait_visible(&self) -> bool {
        self.wait_visible
    }
}

async fn post(
    State(app): State<App>,
    Tenant(tenant): Tenant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let beside = Beside::of(&uri)?;
    check_media(&headers)?;
    receipt::open(&app)?;
    let held = body::read(&app, &tenant, &headers, body).await?;
    let message = message(tenant, uri.path(), &headers, &beside, message::Body::Bytes(held.bytes.clone()));
    receipt::submit(&app, message, beside.wait_visible(), held).await
}

/// A message as it came over HTTP.
pub fn message(tenant: TenantId, path: &str, headers: &HeaderMap, beside: &Beside, body: message::Body) -> Message {
    let subject_header = headers.get("pedigraph-subject").map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    let mut passed = headers.iter().filter(|(name, _)| is_passed_on(name)).map(passed_on).collect();
    trace::carry(&mut passed);
    Message {
        tenant,
        origin: Origin { kind: SOURCE.into(), topic: path.into(), ..Origin::default() },
        source: SOURCE.into(),
        headers: passed,
        body,
        subject: beside.subject.clone().or(subject_header),
        format: beside.format.clone(),
        broker_time: None,
        replay_of: None,
    }
}

/// What says something about the event; never credentials or cookies.
fn is_passed_on(name: &HeaderName) -> bool {
    const NAMES: [&str; 5] = ["content-type", "content-encoding", "idempotency-key", "traceparent", "tracestate"];
    const PREFIXES: [&str; 4] = ["ce-", "pedigraph-", "x-github-", "x-gitlab-"];
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Names of a `HeaderMap` are in lower case already.
fn passed_on((name, value): (&HeaderName, &HeaderValue)) -> (String, Option<Bytes>) {
    (name.as_str().to_owned(), Some(Bytes::copy_from_slice(value.as_bytes())))
}

/// Refuses what cannot be an event before its body is read. What it is, the decoders find out.
pub fn check_media(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let binary_mode = headers.contains_key("ce-type") || headers.contains_key("ce-specversion");
    let media = text(header::CONTENT_TYPE);
    if !binary_mode && media.is_some_and(|media| !is_supported(&media)) {
        let advice = "send application/cloudevents+json, application/cloudevents-batch+json, application/x-ndjson, \
                      application/json or the document's own type, e.g. curl -H 'content-type: application/json'";
        return Err(Problem::new(Code::UnsupportedMediaType, advice));
    }
    let coding = text(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.split(',').all(is_known_coding)) {
        let advice = "send Content-Encoding gzip, zstd, bzip2, xz or none";
        return Err(Problem::new(Code::UnsupportedMediaType, advice));
    }
    Ok(())
}

fn is_supported(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, name) = essence.split_once('/').unwrap_or((essence.as_str(), ""));
    match kind {
        "" => true,
        "text" => matches!(name, "plain" | "json" | "xml" | "spdx" | "x-ndjson"),
        "application" => name != "x-www-form-urlencoded",
        _ => false,
    }
}

fn is_known_coding(coding: &str) -> bool {
    const KNOWN: [&str; 9] = ["", "identity", "gzip", "x-gzip", "zstd", "bzip2", "x-bzip2", "xz", "x-xz"];
    KNOWN.contains(&coding.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_pictures_are_no_events() {
        let check = |name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            check_media(&headers).is_ok()
        };
        for good in
            ["application/cloudevents+json; charset=utf-8", "application/x-ndjson", "application/json", "text/plain"]
        {
            assert!(check("content-type", good), "{good}");
        }
        for bad in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png", "text/html"] {
            assert!(!check("content-type", bad), "{bad}");
        }
        assert!(check("content-encoding", "gzip") && !check("content-encoding", "br"));
    }

    #[test]
    fn credentials_are_not_passed_on() {
        let passed = |name: &'static str| is_passed_on(&HeaderName::from_static(name));
        assert!(passed("ce-id") && passed("content-type") && passed("traceparent"));
        assert!(!passed("authorization") && !passed("cookie") && !passed("host"));
    }
}
