//! Request bodies: read part by part, with a limit on size, on idle time and on what is held in memory in all.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::problem::{Code, Problem};

/// Bytes with their share of the memory for bodies, which is given back when this is dropped.
#[derive(Debug)]
pub struct Held {
    /// The body.
    pub bytes: Bytes,
    _share: Share,
}

/// Reads a body of at most `event_bytes_max` bytes into memory.
pub async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<Held, Problem> {
    let limit = app.limits().event_bytes_max;
    check_length(headers, limit as u64)?;
    let mut parts = Parts::new(app, body);
    let mut bytes = BytesMut::new();
    let mut share = Share::new(&app.intake_kib);
    while let Some(part) = parts.next().await? {
        if bytes.len() + part.len() > limit {
            return Err(too_large(limit as u64));
        }
        share.grow_to(bytes.len() + part.len())?;
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

/// What one body has of the memory for bodies. It is counted by the whole body, however small the parts it comes in:
/// rounding up each part would let a few hundred kilobytes, sent byte by byte, take all of it.
#[derive(Debug)]
struct Share {
    of: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn new(of: &Arc<Semaphore>) -> Share {
        Share { of: Arc::clone(of), held: None }
    }

    /// Waiting here could lock up: several half-read bodies might hold everything.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.div_ceil(1_024).saturating_sub(held)).unwrap_or(u32::MAX);
        if more == 0 {
            return Ok(());
        }
        let permit = self.of.clone().try_acquire_many_owned(more).map_err(|_| {
            Problem::new(Code::Overloaded, "too many bytes are on their way in at once; try again").retry_after(1)
        })?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_what_it_holds_however_small_its_parts() {
        let all = Arc::new(Semaphore::new(64));
        let mut share = Share::new(&all);
        (1..=20_000).for_each(|bytes| share.grow_to(bytes).expect("room"));
        assert_eq!(all.available_permits(), 64 - 20, "20,000 bytes are 20 KiB");
        let mut other = Share::new(&all);
        other.grow_to(44 * 1_024).expect("room");
        assert!(share.grow_to(20_481).is_err(), "all of it is taken");
        drop(other);
        share.grow_to(20_481).expect("what was given back");
        drop(share);
        assert_eq!(all.available_permits(), 64);
    }
}
