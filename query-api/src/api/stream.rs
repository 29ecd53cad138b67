//! Stored bytes on their way out: no thread waits for the client.

use std::io::{self, ErrorKind, Read};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use pedigraph_proto::TenantId;

use crate::app::App;
use crate::problem::{Code, Problem};
use crate::shares::Share;

/// Part of a streamed body, bytes. One is in memory for each client.
const PART_BYTES: u64 = 128 << 10;

/// A place among the bodies that are on their way, counted while it is held.
pub(crate) struct Place {
    app: App,
    _share: Share,
}

impl Place {
    /// For a tenant; a problem when there is none.
    pub(crate) fn take(app: &App, tenant: &TenantId) -> Result<Place, Problem> {
        let full = || {
            let detail = format!("your share of {} downloads at once is used up; try again", app.bodies.max());
            Problem::new(Code::Overloaded, detail).retry_after(5)
        };
        let share = app.share(&app.bodies, tenant).ok_or_else(full)?;
        app.metrics.bodies.inc();
        Ok(Place { app: app.clone(), _share: share })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.metrics.bodies.dec();
    }
}

/// Bytes that are read part by part, each when the client took the one before. Who takes nothing is cut off by the
/// connection's deadline.
pub(crate) fn stream_of(place: Place, from: Box<dyn Read + Send>, size: u64) -> Body {
    let stored = Stored { from, left: size, place };
    Body::from_stream(stream::unfold(Some(stored), async |stored| stored?.next().await))
}

struct Stored {
    from: Box<dyn Read + Send>,
    left: u64,
    place: Place,
}

impl Stored {
    /// The next part and what comes after it; nothing comes after an error.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Option<Stored>)> {
        if self.left == 0 {
            return None;
        }
        let Ok(permit) = self.place.app.parts.clone().acquire_owned().await else { return None };
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let part = self.read();
            (part, self)
        });
        match read.await {
            Ok((Ok(part), stored)) => Some((Ok(part), Some(stored))),
            Ok((Err(error), _)) => Some((Err(error), None)),
            Err(panicked) => Some((Err(io::Error::other(panicked)), None)),
        }
    }

    fn read(&mut self) -> io::Result<Bytes> {
        let most = self.left.min(PART_BYTES);
        let mut part = Vec::with_capacity(usize::try_from(most).map_err(io::Error::other)?);
        let read = self.from.by_ref().take(most).read_to_end(&mut part)? as u64;
        if read < most {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "stored bytes end before their length"));
        }
        self.left -= read;
        Ok(part.into())
    }
}
