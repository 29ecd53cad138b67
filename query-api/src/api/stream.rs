//! Stored bytes on their way out.

use std::io::Read as _;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// Part of a streamed body, bytes.
const PART_BYTES: usize = 64 << 10;
/// Parts of a streamed body that may wait for the client.
const PARTS_AHEAD: usize = 4;

/// Reads on a thread of its own, a few parts ahead of the client.
pub(crate) fn stream_of(from: Box<dyn std::io::Read + Send>, size: u64) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(PARTS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut from = from.take(size);
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = from.by_ref().take(PART_BYTES as u64).read_to_end(&mut part);
            let ended = !matches!(read, Ok(1..));
            let sent = match read {
                Ok(0) => return,
                Ok(_) => sender.blocking_send(Ok(part.into())),
                Err(error) => sender.blocking_send(Err(error)),
            };
            if ended || sent.is_err() {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))))
}
