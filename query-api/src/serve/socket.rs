//! A connection's bytes: an error when the client takes none of them for too long, and a body for what hyper refuses by
//! itself.
//!
//! hyper answers a head that it cannot read with a bare status line, without asking anybody. Such an answer is known by
//! its place: it is what is written while nothing is being answered and everything before is sent. A body of ours can
//! never stand there.

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use uuid::Uuid;

use crate::problem::Problem;
use crate::serve::flow::Flow;

/// A socket of the server.
pub(crate) struct Socket<S> {
    inner: S,
    flow: Arc<Flow>,
    write_time_max: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is sent in place of hyper's own answer.
    instead: Option<Instead>,
}

struct Instead {
    bytes: Vec<u8>,
    sent: usize,
    /// What hyper is told that it wrote.
    stands_for: usize,
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    /// Around a socket.
    pub(crate) fn new(inner: S, flow: Arc<Flow>, write_time_max: Duration) -> Socket<S> {
        Socket { inner, flow, write_time_max, stalled: None, instead: None }
    }

    /// Ends the wait, or goes on with it until its end.
    fn watch(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() {
            self.stalled = None;
            self.flow.moved();
            return wrote;
        }
        self.flow.stuck();
        let until = Instant::now() + self.write_time_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(stalled.as_mut().poll(cx));
        let why = format!("the client took nothing for {} s", self.write_time_max.as_secs());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// Sends on what stands in place of hyper's own answer.
    fn send_instead(&mut self, cx: &mut Context<'_>, mut instead: Instead) -> Poll<io::Result<usize>> {
        while instead.sent < instead.bytes.len() {
            let wrote = Pin::new(&mut self.inner).poll_write(cx, &instead.bytes[instead.sent..]);
            match self.watch(cx, wrote)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(sent) => instead.sent += sent,
                Poll::Pending => {
                    self.instead = Some(instead);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(instead.stands_for))
    }

    /// What to send in place of these bytes, if they are hyper's own answer.
    fn instead_of(&mut self, given: &[IoSlice<'_>]) -> Option<Instead> {
        if let Some(begun) = self.instead.take() {
            return Some(begun);
        }
        if !self.flow.is_idle() {
            return None;
        }
        let first = given.iter().find(|part| !part.is_empty())?;
        let bytes = problem_for(status_of(first)?);
        Some(Instead { bytes, sent: 0, stands_for: given.iter().map(|part| part.len()).sum() })
    }
}

/// The status of a refusal's status line.
fn status_of(head: &[u8]) -> Option<StatusCode> {
    let text = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(text).ok().filter(StatusCode::is_client_error)
}

/// The whole answer for a head that could not be read.
fn problem_for(status: StatusCode) -> Vec<u8> {
    // A target above hyper's limit is a head above ours.
    let status = if status == StatusCode::URI_TOO_LONG { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { status };
    let (problem, id) = (Problem::of_status(status), Uuid::new_v4().to_string());
    let (status, body) = (problem.status(), problem.to_json(&id).to_string());
    let reason = status.canonical_reason().unwrap_or_default();
    let head = [
        format!("HTTP/1.1 {} {reason}", status.as_u16()),
        "content-type: application/problem+json".to_owned(),
        format!("content-length: {}", body.len()),
        "cache-control: no-store".to_owned(),
        "x-content-type-options: nosniff".to_owned(),
        format!("x-request-id: {id}"),
        "connection: close".to_owned(),
    ];
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(instead) = self.instead_of(parts) {
            return self.send_instead(cx, instead);
        }
        let wrote = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.watch(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.flow.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    fn socket(room: usize) -> (Socket<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (inner, client) = tokio::io::duplex(room);
        (Socket::new(inner, Flow::new(), Duration::from_secs(7)), client)
    }

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails() {
        let (inner, mut client) = tokio::io::duplex(10);
        let mut socket = Socket::new(inner, Flow::new(), Duration::from_millis(50));
        let _answering = socket.flow.answering();
        socket.write_all(&[0; 10]).await.expect("there is room");
        client.read_exact(&mut [0; 10]).await.expect("bytes");
        let error = socket.write_all(&[0; 11]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(socket.flow.waited().is_some_and(|(stuck, _)| stuck));
    }

    #[tokio::test]
    async fn a_bare_refusal_gets_a_body_and_what_we_answer_stays_as_it_is() {
        let (mut socket, mut client) = socket(7);
        let writer = tokio::spawn(async move {
            socket.write_all(BARE).await.expect("written");
            socket.flush().await.expect("flushed");
            let answering = socket.flow.answering();
            socket.write_all(BARE).await.expect("written");
            drop(answering);
            socket.write_all(b"HTTP/1.1 431 of a body").await.expect("written");
        });
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.expect("bytes");
        writer.await.expect("not panicked");
        let text = String::from_utf8(heard).expect("text");
        let (refusal, rest) = text.split_once("HTTP/1.1 400 Bad Request\r\nconnection").expect("two answers");
        assert!(
            refusal.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n"),
            "{text}"
        );
        assert!(refusal.contains("\"code\":\"BAD_REQUEST\""), "{text}");
        let body = refusal.split_once("\r\n\r\n").expect("a body").1;
        assert!(refusal.contains(&format!("content-length: {}\r\n", body.len())), "{text}");
        assert!(rest.ends_with("HTTP/1.1 431 of a body"), "{text}");
    }

    #[test]
    fn only_refusals_are_replaced() {
        let status = |text: &str| status_of(text.as_bytes()).map(|status| status.as_u16());
        assert_eq!(status("HTTP/1.1 431 Request Header Fields Too Large\r\n"), Some(431));
        assert_eq!(status("HTTP/1.0 400 "), Some(400));
        for other in ["HTTP/1.1 200 OK", "HTTP/1.1 100 Continue", "HTTP/1.1 4", "", "400"] {
            assert_eq!(status(other), None, "{other}");
        }
        assert!(problem_for(StatusCode::URI_TOO_LONG).starts_with(b"HTTP/1.1 431 "));
    }
}
