//! `pedigraph publish`: files, directories or stdin to a server.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use crate::arguments::Client;
use crate::client::{Answer, Server};
use crate::output::{Exit, Failure, answer, progress_bar};

/// Documents above this go to the streaming endpoint, bytes.
const EVENT_BYTES_MAX: u64 = 15 << 20;

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
        // A duplicate of what was rejected is not taken either.
        let rejected = rows.iter().filter(|row| row["status"] == "rejected" || row["code"].is_string()).count();
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
pub(super) fn results(answer: Answer, base: &str, file: &str) -> anyhow::Result<Vec<Value>> {
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
        // A message alone is refused with a detail, one of several is listed with its reason.
        if let Some(reason) = row.get("reason").cloned() {
            row.entry("detail").or_insert(reason);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_says_why_it_was_rejected() {
        let of = |status: u16, body: Value| {
            let answer = Answer { status, body: body.to_string().into_bytes() };
            results(answer, "http://localhost", "one.json").expect("rows").remove(0)
        };
        let alone = of(422, json!({ "index": 4, "code": "SCHEMA_VIOLATION", "detail": "no type" }));
        let among = json!({ "status": "duplicate", "index": 4, "code": "SCHEMA_VIOLATION", "reason": "no type" });
        for row in [alone, of(200, json!({ "results": [among] }))] {
            assert_eq!((&row["code"], &row["detail"]), (&json!("SCHEMA_VIOLATION"), &json!("no type")), "{row}");
        }
    }

    #[test]
    fn lines_are_told_from_a_document() {
        assert!(looks_like_lines(b"{\"a\":1}\n{\"b\":2}\n"));
        assert!(!looks_like_lines(b"{\n\"a\":1\n}\n"));
        assert!(!looks_like_lines(b"{\"a\":1}"));
    }
}
