//! A request's body that comes back when it was not read to its end.
//!
//! An answer may be ready before the body is: the request is refused by its head, or the body is too large. hyper then
//! closes the connection after the answer. A client that keeps it for its next request, or is still sending, would see
//! an error instead of what it was told. So what is left is read, up to a limit; beyond it the answer says that the
//! connection ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, header};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Bytes of a body that are read though nobody wants them.
const LEFT_BYTES_MAX: usize = 1 << 20;
/// The time for it: an answer is not kept back longer.
const LEFT_TIME_MAX: Duration = Duration::from_millis(500);

/// The body of a request.
pub(crate) struct RequestBody {
    body: Option<Incoming>,
    left: Option<oneshot::Sender<Incoming>>,
}

/// What becomes of a body.
pub(crate) struct Left {
    body: Option<oneshot::Receiver<Incoming>>,
    /// The client sends nothing until it is told to: whoever reads the body tells it.
    asks_first: bool,
}

/// Takes the body of a request where it can be given back.
pub(crate) fn watched(request: Request<Incoming>) -> (Request<RequestBody>, Left) {
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (sender, receiver) = if body.is_end_stream() { (None, None) } else { Some(oneshot::channel()).unzip() };
    let body = RequestBody { body: Some(body), left: sender };
    (Request::from_parts(parts, body), Left { body: receiver, asks_first })
}

impl Left {
    /// Reads what nobody read. Whether the body is at its end, so that another request may follow it.
    pub(crate) async fn read(mut self) -> bool {
        let Some(receiver) = &mut self.body else { return true };
        match receiver.try_recv() {
            Ok(_) if self.asks_first => false,
            Ok(body) => timeout(LEFT_TIME_MAX, read_to_end(body)).await.unwrap_or(false),
            Err(oneshot::error::TryRecvError::Closed) => true,
            // Somebody goes on reading beside the answer.
            Err(oneshot::error::TryRecvError::Empty) => false,
        }
    }
}

async fn read_to_end(mut body: Incoming) -> bool {
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > LEFT_BYTES_MAX {
            return false;
        }
    }
    true
}

impl hyper::body::Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.left = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream()).zip(self.left.take());
        if let Some((body, left)) = left {
            // An error means that the connection is gone.
            drop(left.send(body));
        }
    }
}
