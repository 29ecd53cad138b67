//! A server, asked over its public API and nothing else.

use std::cell::Cell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::output::{Exit, Failure, field, printable, say};
use crate::telemetry::caller_context;

/// Answers larger than this are refused, bytes (the server's own limit is 16 MiB).
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Time to find the server's address, and then to connect to it.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server: before its answer begins, and while bytes go either way. As long as they do, there is
/// no limit.
const SILENCE: Duration = Duration::from_secs(120);
/// Bytes that are received at once.
const PIECE_BYTES: usize = 64 << 10;

/// Status of a server that takes no more of a client, or of anybody, for now.
const TOO_MANY: u16 = 429;
/// Longest time that is waited until a server takes one request.
const PATIENCE: Duration = Duration::from_secs(600);
/// Rows of one page of a list that is read to its end.
const PAGE_ROWS: usize = 1_000;
/// Header of an answer that comes from views which are being folded anew.
const REBUILDING: &str = "pedigraph-rebuilding";

/// A server, by its URL.
pub(crate) struct Server {
    agent: ureq::Agent,
    pub(crate) base: String,
    token: Option<String>,
    /// The trace that the caller is in (`TRACEPARENT`), so that the server's spans are found there.
    traceparent: Option<String>,
    /// An answer came from views that are being folded anew.
    rebuilding: Cell<bool>,
}

/// Status and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// When to come back, as the server says.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Nothing is sent yet.
    pub(crate) fn new(url: &str, token: Option<String>) -> Server {
        let base = url.trim_end_matches('/').to_owned();
        let traceparent = caller_context(std::env::var("TRACEPARENT").ok());
        Server { agent: agent(SILENCE), base, token, traceparent, rebuilding: Cell::default() }
    }

    /// GET of a path whose query values are given apart, so that they are escaped here and only here.
    pub(crate) fn get(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<Value> {
        let answer = self.fetch(path, query)?;
        Ok(serde_json::from_slice(&answer.ok(&self.base)?.body)?)
    }

    /// A list, page after page: the first answer with at least `limit` rows of `lists` in it, or all without a limit.
    /// Its `nextPageToken` is there when there are more.
    pub(crate) fn list(
        &self,
        path: &str,
        query: &[(&str, Option<&str>)],
        lists: &[&str],
        limit: Option<usize>,
    ) -> anyhow::Result<Value> {
        let mut all: Option<Value> = None;
        let mut token: Option<String> = None;
        loop {
            let rows = all.as_ref().map_or(0, |all| longest(all, lists));
            let page_size = limit.map_or(PAGE_ROWS, |limit| limit.saturating_sub(rows).min(PAGE_ROWS)).to_string();
            let mut query = query.to_vec();
            query.extend([("pageSize", Some(page_size.as_str())), ("pageToken", token.as_deref())]);
            let page = self.get(path, &query)?;
            token = page["nextPageToken"].as_str().map(str::to_owned);
            let joined = match all.take() {
                None => page,
                Some(before) => join(before, page, lists),
            };
            if token.is_none() || limit.is_some_and(|limit| longest(&joined, lists) >= limit) {
                return Ok(joined);
            }
            all = Some(joined);
        }
    }

    /// To be called when an answer is printed: it is an old one while the views are being folded anew.
    pub(crate) fn up_to_date(&self) -> anyhow::Result<()> {
        if !self.rebuilding.get() {
            return Ok(());
        }
        let text = "the views are being folded anew: this is an older state; /readyz says when that is over";
        Err(Failure::error(Exit::Stale, format!("{}: {text}", self.base)))
    }

    /// GET of any body.
    pub(crate) fn fetch(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<Answer> {
        self.patiently(|| {
            let mut request = self.agent.get(format!("{}{path}", self.base));
            for (name, value) in query {
                if let Some(value) = value {
                    request = request.query(name, value);
                }
            }
            self.read(self.authorized(request).call())
        })
    }

    /// Asks again when a server says that it takes no more for now and when to come back.
    pub(crate) fn patiently(&self, ask: impl Fn() -> anyhow::Result<Answer>) -> anyhow::Result<Answer> {
        let mut waited = Duration::ZERO;
        loop {
            let answer = ask()?;
            let Some(wait) = answer.retry_after.filter(|_| answer.status == TOO_MANY) else { return Ok(answer) };
            if waited.saturating_add(wait) > PATIENCE {
                return Ok(answer);
            }
            if waited.is_zero() {
                say(&format!("{} takes no more for now: waiting, as it says", self.base));
            }
            rest(wait);
            waited += wait;
        }
    }

    /// POST of a body.
    pub(crate) fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl ureq::AsSendBody,
    ) -> anyhow::Result<Answer> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.read(self.authorized(request).send(body))
    }

    /// GET of a body of any size into a file; returns its bytes.
    pub(crate) fn download(&self, path: &str, to: &mut std::fs::File) -> anyhow::Result<u64> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("accept-encoding", "identity");
        let response = match self.authorized(request).call() {
            Ok(response) if response.status().is_success() => response,
            refused => return self.read(refused)?.ok(&self.base).map(|answer| answer.body.len() as u64),
        };
        let mut body = response.into_body().into_reader();
        let (mut piece, mut bytes) = (vec![0; PIECE_BYTES], 0);
        loop {
            let count = match body.read(&mut piece) {
                Ok(0) => return Ok(bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                count => count.map_err(|error| self.broke_off(error.into()))?,
            };
            to.write_all(&piece[..count]).context("cannot write what is received")?;
            bytes += count as u64;
        }
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        let request = match &self.traceparent {
            Some(traceparent) => request.header("traceparent", traceparent),
            None => request,
        };
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn read(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Answer> {
        let mut response = result.map_err(|error| {
            // Nothing was sent: what was given cannot be written into a request.
            if matches!(error, ureq::Error::Http(_) | ureq::Error::BadUri(_)) {
                let hint = "check --url (such as http://127.0.0.1:8080) and --token (one line, letters of ASCII)";
                return Failure::error(Exit::Usage, format!("cannot ask {}: {error}; {hint}", self.base));
            }
            let hint = "is it running? start it with `pedigraph up`, or name another with --url";
            Failure::error(Exit::Unreachable, format!("{} does not answer: {}; {hint}", self.base, reason(&error)))
        })?;
        let status = response.status().as_u16();
        if response.headers().contains_key(REBUILDING) {
            self.rebuilding.set(true);
        }
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(|seconds: u64| Duration::from_secs(seconds.max(1)));
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(Answer { status, retry_after, body: body.map_err(|error| self.broke_off(error))? })
    }

    fn broke_off(&self, error: ureq::Error) -> anyhow::Error {
        let text = format!("the answer of {} broke off: {}; try again", self.base, reason(&error));
        Failure::error(Exit::Unreachable, text)
    }
}

#[expect(clippy::disallowed_methods, reason = "the server says how long nothing can happen")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}

fn longest(answer: &Value, lists: &[&str]) -> usize {
    lists.iter().filter_map(|list| answer[list].as_array()).map(Vec::len).max().unwrap_or(0)
}

/// The page with the rows before it in front: where the list goes on, the page says.
fn join(mut before: Value, mut page: Value, lists: &[&str]) -> Value {
    let rows_of = |value: Value| if let Value::Array(rows) = value { rows } else { vec![] };
    for list in lists {
        let mut rows = rows_of(before[list].take());
        rows.extend(rows_of(page[list].take()));
        page[list] = rows.into();
    }
    page
}

fn agent(silence: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls());
    let config = config.timeout_resolve(Some(CONNECT)).timeout_connect(Some(CONNECT));
    let config = config.timeout_per_read(Some(silence)).timeout_per_write(Some(silence));
    config.timeout_recv_response(Some(silence)).build().into()
}

fn reason(error: &ureq::Error) -> String {
    use ureq::Timeout::{PerRead, PerWrite, RecvResponse};
    let silent = matches!(error, ureq::Error::Timeout(PerRead | PerWrite | RecvResponse));
    if silent { "it is silent for too long".to_owned() } else { error.to_string() }
}

/// `https` by the system's OpenSSL and its trusted roots.
pub(crate) fn tls() -> ureq::tls::TlsConfig {
    use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
    TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(RootCerts::PlatformVerifier).build()
}

impl Answer {
    /// The answer if it is a success, else what the server said, with the exit code that fits.
    pub(crate) fn ok(self, base: &str) -> anyhow::Result<Answer> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_else(|_| json!({}));
        let text = |key: &str| problem.get(key).and_then(Value::as_str).map(printable);
        let exit = match (self.status, text("code").as_deref()) {
            (404, _) => Exit::NotFound,
            (401 | 403, _) => Exit::NotAllowed,
            (400, _) => Exit::Usage,
            (503, Some("PROJECTION_BEHIND" | "NOT_READY" | "VIEWS_UNAVAILABLE")) => Exit::Stale,
            _ => Exit::Error,
        };
        let detail = text("detail").or_else(|| text("title")).unwrap_or_else(|| "no explanation".to_owned());
        let code = text("code").unwrap_or_else(|| format!("HTTP {}", self.status));
        let mut message = format!("{base}: {code}: {detail}");
        for candidate in problem.get("candidates").and_then(Value::as_array).into_iter().flatten() {
            let [kind, id, label] = ["/type", "/id", "/label"].map(|name| field(candidate, name));
            let label = if label == id { String::new() } else { format!("  {label}") };
            message.push_str(&format!("\n  {kind} {id}{label}"));
        }
        Err(Failure::error(exit, message))
    }
}

/// Percent-encodes a path segment.
pub(crate) fn escape(segment: &str) -> String {
    let mut escaped = String::new();
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Asks a server that does with its one connection, whose request's head it has read, what the script says.
    fn ask<T>(
        silence_ms: u64,
        script: impl FnOnce(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
        ask: impl FnOnce(&Server) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let peer = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            // The client may have gone away.
            let _failed = script(&mut stream);
        });
        let server = Server { agent: agent(Duration::from_millis(silence_ms)), ..Server::new(&url, None) };
        let answer = ask(&server);
        drop(server);
        peer.join().unwrap();
        answer
    }

    /// A slow line: twelve times this is longer than the silence that is allowed.
    fn slowly() {
        std::thread::park_timeout(Duration::from_millis(150));
    }

    fn until_the_client_goes(stream: &mut TcpStream) -> std::io::Result<()> {
        std::io::copy(stream, &mut std::io::sink()).map(|_| ())
    }

    fn is_unreachable<T>(answer: anyhow::Result<T>, says: &str) {
        let error = answer.err().unwrap();
        assert_eq!(Exit::of(&error), Exit::Unreachable, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains("silent for too long"), "{error}");
    }

    #[test]
    fn bytes_may_trickle_for_longer_than_the_silence_that_is_allowed() {
        let trickle = |stream: &mut TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n")?;
            b"twelve bytes".iter().try_for_each(|byte| {
                slowly();
                stream.write_all(&[*byte])
            })
        };
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(ask(1_000, trickle, |server| server.download("/pack", &mut file)).unwrap(), 12);
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(std::io::read_to_string(file).unwrap(), "twelve bytes");
        assert_eq!(ask(1_000, trickle, |server| server.fetch("/any", &[])).unwrap().body, *b"twelve bytes");
    }

    #[test]
    fn a_server_that_is_silent_in_its_answer_or_before_it_is_left() {
        let stop = |stream: &mut TcpStream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\ntwel")?;
            until_the_client_goes(stream)
        };
        let mut file = tempfile::tempfile().unwrap();
        is_unreachable(ask(300, stop, |server| server.download("/pack", &mut file)), "broke off");
        is_unreachable(ask(300, stop, |server| server.get("/any", &[])), "broke off");
        is_unreachable(ask(300, until_the_client_goes, |server| server.get("/any", &[])), "does not answer");
    }

    /// Larger than what lies in buffers on the way.
    const UPLOAD_BYTES: usize = 24 << 20;

    #[test]
    fn a_document_is_sent_for_as_long_as_the_server_takes_bytes() {
        let take = |stream: &mut TcpStream| {
            let mut piece = vec![0; UPLOAD_BYTES / 12];
            for _ in 0..12 {
                slowly();
                stream.read_exact(&mut piece)?;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        };
        let document = vec![b' '; UPLOAD_BYTES];
        let answer = ask(1_000, take, |server| server.post("/documents", &[], document.as_slice()));
        assert_eq!(answer.unwrap().status, 200);
        let (asking, over) = std::sync::mpsc::channel::<()>();
        let take_nothing = move |_: &mut TcpStream| {
            let _the_client_has_gone = over.recv();
            Ok(())
        };
        let refused = ask(300, take_nothing, |server| {
            let answer = server.post("/documents", &[], document.as_slice());
            drop(asking);
            answer.map(|answer| answer.status)
        });
        is_unreachable(refused, "does not answer");
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_an_error_of_usage_and_is_not_repeated() {
        let server = Server::new("http://127.0.0.1:9", Some("sec\nret".to_owned()));
        let error = server.get("/any", &[]).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Usage, "{error}");
        assert!(error.to_string().contains("--token") && !error.to_string().contains("ret\""), "{error}");
    }

    #[test]
    fn a_path_segment_is_escaped() {
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
    }
}
