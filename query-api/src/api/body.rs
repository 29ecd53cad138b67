//! Request bodies: read part by part, with a limit on size, on idle time and on what is held in memory in all.

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use pedigraph_proto::TenantId;

use crate::app::App;
use crate::problem::{Code, Problem};
use crate::shares::Share;

/// Bytes with their share of the memory for bodies, which is given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    /// The body.
    pub bytes: Bytes,
    _share: Share,
}

/// Reads a tenant's body of at most `event_bytes_max` bytes into memory. What is held is counted by the whole body,
/// however small the parts it comes in. Waiting for memory could lock up: several half-read bodies might hold
/// everything.
pub async fn read(app: &App, tenant: &TenantId, headers: &HeaderMap, body: Body) -> Result<Held, Problem> {
    let limit = app.limits().event_bytes_max;
    check_length(headers, limit as u64)?;
    let mut parts = Parts::new(app, body);
    let mut bytes = BytesMut::new();
    let several = app.has_several_tenants();
    let full = || {
        let detail = "your share of the memory for what is on its way in is used up; try again";
        Problem::new(Code::Overloaded, detail).retry_after(1)
    };
    let mut share = app.intake_bytes.take_many(tenant, 0, several).ok_or_else(full)?;
    while let Some(part) = parts.next().await? {
        if bytes.len() + part.len() > limit {
            return Err(too_large(limit as u64));
        }
        if !share.grow_to(bytes.len() + part.len(), several) {
            return Err(full());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Held { bytes: bytes.freeze(), _share: share })
}

/// Refuses by `Content-Length` before a byte is read.
pub fn check_length(headers: &HeaderMap, limit: u64) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit) { Err(too_large(limit)) } else { Ok(()) }
}

/// The problem for a body above its limit.
pub fn too_large(limit: u64) -> Problem {
    let detail =
        format!("the body is larger than {limit} bytes; send documents to /api/v1/documents, batches in parts");
    Problem::new(Code::TooLarge, detail).member("limitBytes", limit)
}

/// The parts of a body as they arrive.
pub struct Parts {
    stream: BodyDataStream,
    idle_max: std::time::Duration,
}

impl Parts {
    /// Of a request's body.
    pub fn new(app: &App, body: Body) -> Parts {
        Parts { stream: body.into_data_stream(), idle_max: app.limits().body_idle_max }
    }

    /// The next part; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let part = tokio::time::timeout(self.idle_max, self.stream.next()).await;
        let slow = || format!("no part of the body came for {} s", self.idle_max.as_secs());
        let part = part.map_err(|_| Problem::new(Code::RequestTimeout, slow()))?;
        part.transpose()
            .map_err(|_| Problem::new(Code::BadRequest, "the body ended before its length, or is badly framed"))
    }
}
