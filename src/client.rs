//! The commands that ask a running server, over its public API and nothing else.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::Client;
use crate::output::{Exit, Failure, Format, answer, printable, progress_bar, put, say};

/// Answers larger than this are refused, bytes (the server's own limit is 16 MiB).
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Documents above this go to the streaming endpoint, bytes.
const EVENT_BYTES_MAX: u64 = 15 << 20;
/// Time to find the server's address, and then to connect to it.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a server: before its answer begins, and while bytes go either way. As long as they do, there is no limit.
const SILENCE: Duration = Duration::from_secs(120);
/// Bytes that are received at once.
const PIECE_BYTES: usize = 64 << 10;

/// A server, by its URL.
pub(crate) struct Server {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// Status and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Server {
    /// Nothing is sent yet.
    pub(crate) fn new(url: &str, token: Option<String>) -> Server {
        Server { agent: agent(SILENCE), base: url.trim_end_matches('/').to_owned(), token }
    }

    /// GET of a path whose query values are given apart, so that they are escaped here and only here.
    pub(crate) fn get(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<Value> {
        let answer = self.fetch(path, query)?;
        Ok(serde_json::from_slice(&answer.ok(&self.base)?.body)?)
    }

    /// GET of any body.
    pub(crate) fn fetch(&self, path: &str, query: &[(&str, Option<&str>)]) -> anyhow::Result<Answer> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in query {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        self.read(self.authorized(request).call())
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
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn read(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Answer> {
        let mut response = result.map_err(|error| {
            let hint = "is it running? start it with `pedigraph up`, or name another with --url";
            Failure::error(Exit::Unreachable, format!("{} does not answer: {}; {hint}", self.base, reason(&error)))
        })?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok(Answer { status, body: body.map_err(|error| self.broke_off(error))? })
    }

    fn broke_off(&self, error: ureq::Error) -> anyhow::Error {
        let text = format!("the answer of {} broke off: {}; try again", self.base, reason(&error));
        Failure::error(Exit::Unreachable, text)
    }
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
            (503, Some("PROJECTION_BEHIND")) => Exit::Stale,
            _ => Exit::Error,
        };
        let detail = text("detail").or_else(|| text("title")).unwrap_or_else(|| "no explanation".to_owned());
        let code = text("code").unwrap_or_else(|| format!("HTTP {}", self.status));
        let mut message = format!("{base}: {code}: {detail}");
        for candidate in problem.get("candidates").and_then(Value::as_array).into_iter().flatten() {
            message.push_str(&format!("\n  {} {}", field(candidate, "/type"), field(candidate, "/id")));
        }
        Err(Failure::error(exit, message))
    }
}

fn field(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).map_or_else(String::new, |v| v.as_str().map_or_else(|| v.to_string(), printable))
}

/// Both clocks, for every question.
#[derive(Args, Clone, Debug)]
pub(crate) struct Clocks {
    /// As it was at this time (RFC 3339).
    #[arg(long)]
    at: Option<String>,
    /// As it was known then (RFC 3339 or a ledger index).
    #[arg(long)]
    as_of: Option<String>,
}

impl Clocks {
    fn query(&self) -> [(&'static str, Option<&str>); 2] {
        [("at", self.at.as_deref()), ("asOf", self.as_of.as_deref())]
    }
}

/// `pedigraph publish`
#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// Files, directories (every file below, hidden directories left out), or - for stdin.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The artifact that a document is about, where it does not say so itself (sha256:…).
    #[arg(long)]
    subject: Option<String>,
    /// Force a format instead of detecting it.
    #[arg(long)]
    format: Option<String>,
    /// Media type [default: by the file's name].
    #[arg(long)]
    content_type: Option<String>,
    /// Answer only when the views show it.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    client: Client,
}

impl Publish {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let server = self.client.server();
        let files = self.files()?;
        let bar = progress_bar(files.len() as u64, "files");
        let mut rows = Vec::new();
        for file in &files {
            rows.extend(self.send(&server, file)?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let columns = [
            ("FILE", "/file"),
            ("STATUS", "/status"),
            ("INDEX", "/index"),
            ("EVENT", "/eventId"),
            ("CODE", "/code"),
            ("REASON", "/detail"),
        ];
        answer(self.client.output, &json!({ "results": rows }), &rows, &columns);
        let rejected = rows.iter().filter(|row| row["status"] == "rejected").count();
        if rejected > 0 {
            let hint = "see `pedigraph rejects show INDEX`; their bytes are kept";
            return Err(Failure::error(Exit::Error, format!("{rejected} of {} rejected; {hint}", rows.len())));
        }
        Ok(())
    }

    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for path in &self.paths {
            match path.is_dir() {
                true => files.extend(files_below(path)?),
                false => files.push(path.clone()),
            }
        }
        if files.is_empty() {
            let named: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(Failure::error(Exit::NotFound, format!("nothing to send: no files in {}", named.join(", "))));
        }
        Ok(files)
    }

    fn send(&self, server: &Server, file: &Path) -> anyhow::Result<Vec<Value>> {
        let content_type = self.content_type.as_deref().unwrap_or_else(|| media_type(file));
        let mut path = String::from("/api/v1/events");
        let mut headers = vec![("content-type", content_type)];
        if let Some(subject) = &self.subject {
            headers.push(("pedigraph-subject", subject));
        }
        let mut query = vec![];
        if self.wait {
            query.push("wait=visible".to_owned());
        }
        if let Some(format) = &self.format {
            query.push(format!("format={format}"));
        }
        let answer = if file == Path::new("-") {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).context("cannot read stdin")?;
            let lines = content_type == "application/json" && looks_like_lines(&body);
            headers[0].1 = if lines { "application/x-ndjson" } else { content_type };
            server.post(&with_query(&path, &query), &headers, body.as_slice())?
        } else {
            let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            if opened.metadata()?.len() > EVENT_BYTES_MAX {
                "/api/v1/documents".clone_into(&mut path);
            }
            server.post(&with_query(&path, &query), &headers, opened)?
        };
        results(answer, &server.base, &file.display().to_string())
    }
}

/// In the order of their paths. Links to directories are not followed: they may lead back.
fn files_below(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry?;
            if entry.path().is_file() {
                files.push(entry.path());
            } else if entry.file_type()?.is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                dirs.push(entry.path());
            }
        }
    }
    files.sort();
    Ok(files)
}

fn with_query(path: &str, query: &[String]) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// Several lines that each begin an object are ndjson.
fn looks_like_lines(body: &[u8]) -> bool {
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let object = |line: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    matches!((lines.next(), lines.next()), (Some(first), Some(second)) if object(first) && object(second))
}

fn media_type(file: &Path) -> &'static str {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.contains(".intoto.") {
        return "application/vnd.in-toto+json";
    }
    match name.rsplit('.').next() {
        Some("ndjson" | "jsonl") => "application/x-ndjson",
        _ => "application/json",
    }
}

/// One row for each message of the answer; a rejection (422) is an answer too.
fn results(answer: Answer, base: &str, file: &str) -> anyhow::Result<Vec<Value>> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!({}));
    let rejected = answer.status == 422 && body.get("index").is_some();
    let mut rows = match body.get("results").and_then(Value::as_array) {
        Some(rows) => rows.clone(),
        None if rejected => {
            vec![json!({"status": "rejected", "index": body["index"], "code": body["code"], "detail": body["detail"]})]
        }
        None => vec![serde_json::from_slice(&answer.ok(base)?.body)?],
    };
    for row in rows.iter_mut().filter_map(Value::as_object_mut) {
        row.insert("file".to_owned(), json!(file));
    }
    Ok(rows)
}

/// `pedigraph trace`
#[derive(Args, Debug)]
pub(crate) struct Trace {
    /// Digest or its beginning, image reference, tag, commit, purl, `prod/service`, `prod~1/service`, `prod@{2h}/service`.
    reference: String,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Trace {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let mut query = vec![("ref", Some(self.reference.as_str()))];
        query.extend(self.clocks.query());
        let body = self.client.server().get("/api/v1/trace", &query)?;
        if self.client.output == Format::Table {
            put(&trace_text(&body));
            return Ok(());
        }
        let hops = body["hops"].as_array().cloned().unwrap_or_default();
        answer(self.client.output, &body, &hops, &[]);
        Ok(())
    }
}

fn trace_text(body: &Value) -> String {
    let mut text = format!("{}\n", field(body, "/ref"));
    if let Some(artifact) = body.get("artifact") {
        text.push_str(&format!("{}  {}\n", field(artifact, "/artifactRef"), field(artifact, "/digest")));
    }
    for hop in body["hops"].as_array().into_iter().flatten() {
        let mark = match hop["status"].as_str() {
            Some("found") => "ok     ",
            Some("conflict") => "CONFLICT",
            _ => "missing",
        };
        let when = hop.get("occurredAt").map_or_else(String::new, |_| format!("  {}", field(hop, "/occurredAt")));
        let proof = hop.get("proof").map_or_else(String::new, |_| format!("  [entry {}]", field(hop, "/proof/index")));
        text.push_str(&format!("  {mark} {:<13} {}{when}{proof}\n", field(hop, "/kind"), field(hop, "/summary")));
        if hop.get("reason").is_some() {
            text.push_str(&format!("                        {}\n", field(hop, "/reason")));
        }
    }
    let verdict = if body["complete"] == true { "complete" } else { "incomplete" };
    text.push_str(&format!("{verdict}, traced in {} ms", field(body, "/elapsedMs")));
    text
}

/// `pedigraph impact`
#[derive(Args, Debug)]
pub(crate) struct Impact {
    /// A package URL, with or without version.
    purl: String,
    /// A range, such as vers:npm/<4.17.21.
    #[arg(long)]
    versions: Option<String>,
    /// Only this environment.
    #[arg(long)]
    env: Option<String>,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Impact {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        if !self.purl.starts_with("pkg:") {
            let text = format!("{:?} is not a package URL; write pkg:type/namespace/name@version", self.purl);
            return Err(Failure::error(Exit::Usage, text));
        }
        let mut query = vec![
            ("purl", Some(self.purl.as_str())),
            ("versions", self.versions.as_deref()),
            ("env", self.env.as_deref()),
        ];
        query.extend(self.clocks.query());
        let body = self.client.server().get("/api/v1/components/impact", &query)?;
        let mut rows = Vec::new();
        for state in ["deployed", "unknown", "notDeployed"] {
            for row in body[state].as_array().into_iter().flatten() {
                let mut row = row.clone();
                row["state"] = json!(state);
                rows.push(row);
            }
        }
        let columns = [
            ("STATE", "/state"),
            ("ENVIRONMENT", "/environment"),
            ("SERVICE", "/service"),
            ("ARTIFACT", "/artifactRef"),
            ("COMPONENT", "/components/0/purl"),
            ("PATH", "/components/0/path"),
            ("SINCE", "/since"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &rows, &columns);
        if self.client.output == Format::Table {
            let count = |name: &str| field(&body, &format!("/counts/{name}"));
            say(&format!(
                "{} deployed, {} running with unknown contents, {} not deployed",
                count("deployed"),
                count("unknown"),
                count("notDeployed")
            ));
        }
        Ok(())
    }
}

/// `pedigraph env`
#[derive(Args, Debug)]
pub(crate) struct Env {
    /// The environment; without it, all are listed.
    name: Option<String>,
    /// Its changes instead of what runs.
    #[arg(long)]
    changes: bool,
    /// Also services that were removed.
    #[arg(long)]
    include_removed: bool,
    #[command(flatten)]
    clocks: Clocks,
    #[command(flatten)]
    client: Client,
}

impl Env {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let server = self.client.server();
        let Some(name) = &self.name else {
            let body = server.get("/api/v1/environments", &self.clocks.query())?;
            let rows = body["environments"].as_array().cloned().unwrap_or_default();
            let columns = [("ENVIRONMENT", "/environment"), ("SERVICES", "/services"), ("LAST CHANGE", "/lastChange")];
            answer(self.client.output, &body, &rows, &columns);
            return Ok(());
        };
        let path = format!("/api/v1/environments/{}", escape(name));
        if self.changes {
            let body = server.get(&format!("{path}/changes"), &self.clocks.query())?;
            let rows = body["changes"].as_array().cloned().unwrap_or_default();
            let columns = [
                ("AT", "/at"),
                ("SERVICE", "/service"),
                ("KIND", "/kind"),
                ("FROM", "/from"),
                ("TO", "/to"),
                ("REASON", "/reason"),
                ("ENTRY", "/proof/index"),
            ];
            answer(self.client.output, &body, &rows, &columns);
            return Ok(());
        }
        let mut query = vec![("includeRemoved", self.include_removed.then_some("true"))];
        query.extend(self.clocks.query());
        let body = server.get(&path, &query)?;
        let columns = [
            ("SERVICE", "/service"),
            ("ARTIFACT", "/artifactRef"),
            ("DIGEST", "/digest"),
            ("WEIGHT", "/weight"),
            ("SINCE", "/since"),
            ("ACTOR", "/actor"),
            ("ENTRY", "/proof/index"),
        ];
        answer(self.client.output, &body, &running_rows(&body), &columns);
        Ok(())
    }
}

fn running_rows(body: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for service in body["services"].as_array().into_iter().flatten() {
        let running = service["running"].as_array().cloned().unwrap_or_default();
        let running = if running.is_empty() { vec![json!({})] } else { running };
        for mut row in running {
            row["service"] = service["service"].clone();
            rows.push(row);
        }
    }
    rows
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

/// `pedigraph rejects …`
#[derive(Subcommand, Debug)]
pub(crate) enum Rejects {
    /// Rejected messages, oldest first.
    List {
        /// Begin at this ledger index.
        #[arg(long, default_value_t = 0)]
        from: u64,
        #[command(flatten)]
        client: Client,
    },
    /// The received bytes of one, on stdout.
    Show {
        /// Ledger index of the reject.
        index: u64,
        #[command(flatten)]
        client: Client,
    },
    /// Drive one again, or all, through today's decoders.
    Replay {
        /// Ledger index of the reject; none: all of them.
        index: Option<u64>,
        #[command(flatten)]
        client: Client,
    },
}

impl Rejects {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Rejects::List { from, client } => {
                let rows = rejects(&client.server(), from)?;
                let columns = [
                    ("INDEX", "/index"),
                    ("CODE", "/code"),
                    ("RECORDED", "/recordedAt"),
                    ("ORIGIN", "/origin/topic"),
                    ("BYTES", "/bodySize"),
                    ("REASON", "/reason"),
                ];
                answer(client.output, &json!({ "entries": rows }), &rows, &columns);
                Ok(())
            }
            Rejects::Show { index, client } => {
                let server = client.server();
                let answer = server.fetch(&format!("/api/v1/entries/{index}/body"), &[])?.ok(&server.base)?;
                std::io::stdout().write_all(&answer.body)?;
                Ok(())
            }
            Rejects::Replay { index, client } => replay(&client, index),
        }
    }
}

fn rejects(server: &Server, from: u64) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut from = from.to_string();
    let mut token: Option<String> = None;
    loop {
        let query = [("status", Some("rejected")), ("from", Some(from.as_str())), ("pageToken", token.as_deref())];
        let body = server.get("/api/v1/entries", &query)?;
        rows.extend(body["entries"].as_array().cloned().unwrap_or_default());
        token = body["nextPageToken"].as_str().map(str::to_owned);
        if token.is_none() {
            return Ok(rows);
        }
        "0".clone_into(&mut from);
    }
}

fn replay(client: &Client, index: Option<u64>) -> anyhow::Result<()> {
    let server = client.server();
    let indexes = match index {
        Some(index) => vec![index],
        None => rejects(&server, 0)?.iter().filter_map(|row| row["index"].as_u64()).collect(),
    };
    let mut rows = Vec::new();
    for index in indexes {
        let answer = server.post(&format!("/api/v1/rejects/{index}/replay"), &[], &[] as &[u8])?;
        rows.extend(results(answer, &server.base, &index.to_string())?);
    }
    let columns =
        [("REJECT", "/file"), ("STATUS", "/status"), ("INDEX", "/index"), ("CODE", "/code"), ("REASON", "/detail")];
    crate::output::answer(client.output, &json!({ "results": rows }), &rows, &columns);
    Ok(())
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
    fn lines_are_told_from_a_document() {
        assert!(looks_like_lines(b"{\"a\":1}\n{\"b\":2}\n"));
        assert!(!looks_like_lines(b"{\n\"a\":1\n}\n"));
        assert!(!looks_like_lines(b"{\"a\":1}"));
    }

    #[test]
    fn a_path_segment_is_escaped() {
        assert_eq!(escape("a/b c"), "a%2Fb%20c");
    }
}
