//! `pedigraph publish`: files, directories or stdin to a server.

mod layout;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use pedigraph_proto::Digest;
use serde_json::{Value, json};

use crate::arguments::Client;
use crate::client::{Answer, Server};
use crate::output::{Exit, Failure, answer, progress_bar, say};
use layout::{Document, Layout};

/// Documents above this go to the streaming endpoint, bytes.
const EVENT_BYTES_MAX: u64 = 15 << 20;

/// What the row of a file says that was not sent.
const UNSENT: &str = "unsent";

/// `pedigraph publish`
#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// Files, directories (every file below, hidden directories left out), or - for stdin. Of an OCI image layout its
    /// indexes, manifests, configurations and attestations are sent, and no file systems.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The artifact that a document is about, where it does not say so itself (sha256:…). What is in an OCI image
    /// layout does.
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
        let found = self.found()?;
        let bar = progress_bar(found.items.len() as u64, "files");
        let (mut rows, mut stopped) = (Vec::new(), None);
        for (before, item) in found.items.iter().enumerate() {
            match self.send(&server, item) {
                Ok(receipts) => rows.extend(receipts),
                // Of nothing that was sent nothing is to be said.
                Err(error) if before == 0 => return Err(error),
                Err(error) => {
                    stopped = Some((before, item, error));
                    break;
                }
            }
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
        found.left.iter().for_each(|left| say(left));
        let Some((before, item, error)) = stopped else { return judge(&rows) };
        let hint = "the receipts of those are above; send all again: what was taken is a duplicate then";
        let text = format!("{error:#}; {before} of {} files were sent before {}", found.items.len(), item.name());
        Err(Failure::error(Exit::of(&error), format!("{text}; {hint}")))
    }

    fn found(&self) -> anyhow::Result<Found> {
        let mut found = Found::default();
        for path in &self.paths {
            match path.is_dir() {
                true => found.add_below(path)?,
                false => {
                    // Nothing is sent before all is there.
                    if path != Path::new("-") {
                        path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
                    }
                    found.items.push(Item::File(path.clone()));
                }
            }
        }
        if found.items.is_empty() {
            let named: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(Failure::error(Exit::NotFound, format!("nothing to send: no files in {}", named.join(", "))));
        }
        Ok(found)
    }

    fn send(&self, server: &Server, item: &Item) -> anyhow::Result<Vec<Value>> {
        match item {
            Item::File(file) => {
                let content_type = self.content_type.as_deref().unwrap_or_else(|| media_type(file));
                self.post(server, file, content_type, self.subject.as_deref(), self.format.as_deref())
            }
            Item::Document(Document { path, media_type, subject }) => {
                self.post(server, path, media_type, subject.as_ref().map(Digest::as_str), None)
            }
            Item::Unfit(file, why) => {
                Ok(vec![json!({ "file": file.display().to_string(), "status": UNSENT, "detail": why })])
            }
        }
    }

    fn post(
        &self,
        server: &Server,
        file: &Path,
        content_type: &str,
        subject: Option<&str>,
        format: Option<&str>,
    ) -> anyhow::Result<Vec<Value>> {
        let mut path = String::from("/api/v1/events");
        let mut headers = vec![("content-type", content_type)];
        if let Some(subject) = subject {
            headers.push(("pedigraph-subject", subject));
        }
        let mut query = vec![];
        if self.wait {
            query.push("wait=visible".to_owned());
        }
        if let Some(format) = format {
            query.push(format!("format={format}"));
        }
        let answer = if file == Path::new("-") {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).context("cannot read stdin")?;
            let lines = content_type == "application/json" && looks_like_lines(&body);
            headers[0].1 = if lines { "application/x-ndjson" } else { content_type };
            server.patiently(|| server.post(&with_query(&path, &query), &headers, body.as_slice()))?
        } else {
            let open = || std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()));
            if open()?.metadata()?.len() > EVENT_BYTES_MAX {
                "/api/v1/documents".clone_into(&mut path);
            }
            server.patiently(|| server.post(&with_query(&path, &query), &headers, open()?))?
        };
        results(answer, &server.base, &file.display().to_string())
    }
}

/// What is done with one file.
enum Item {
    File(PathBuf),
    Document(Document),
    /// It is not what its name says, for a reason.
    Unfit(PathBuf, String),
}

impl Item {
    fn name(&self) -> String {
        let (Item::File(path) | Item::Document(Document { path, .. }) | Item::Unfit(path, _)) = self;
        path.display().to_string()
    }
}

/// What directories hold.
#[derive(Default)]
struct Found {
    items: Vec<Item>,
    /// What is left alone, for people.
    left: Vec<String>,
}

impl Found {
    /// What layouts hold, then other files in the order of their paths.
    fn add_below(&mut self, dir: &Path) -> anyhow::Result<()> {
        let (files, layouts) = files_below(dir)?;
        for layout in layouts {
            let Layout { documents, unfit, left } = Layout::read(&layout)?;
            self.items.extend(documents.into_iter().map(Item::Document));
            self.items.extend(unfit.into_iter().map(|(file, why)| Item::Unfit(file, why)));
            self.left.extend(Some(left).filter(|left| !left.is_empty()));
        }
        self.items.extend(files.into_iter().map(Item::File));
        Ok(())
    }
}

/// An error where anything was not taken.
fn judge(rows: &[Value]) -> anyhow::Result<()> {
    // A duplicate of what was rejected is not taken either.
    let rejected = rows.iter().filter(|row| row["status"] == "rejected" || row["code"].is_string()).count();
    let unsent = rows.iter().filter(|row| row["status"] == UNSENT).count();
    let said = [
        (rejected, "rejected; see `pedigraph rejects show INDEX`; their bytes are kept"),
        (unsent, "missing or damaged, and not sent; copy the layout again"),
    ];
    let said = said.into_iter().filter(|(count, _)| *count > 0);
    let said: Vec<_> = said.map(|(count, what)| format!("{count} of {} {what}", rows.len())).collect();
    if said.is_empty() { Ok(()) } else { Err(Failure::error(Exit::Error, said.join("; "))) }
}

/// Files, and directories that are OCI image layouts, in the order of their paths. Links to directories are not
/// followed: they may lead back.
fn files_below(dir: &Path) -> anyhow::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut layouts, mut dirs) = (Vec::new(), Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        let is_layout = layout::is_layout(&dir)?;
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry?;
            if is_layout && layout::is_part(&entry.path()) {
                continue;
            }
            if entry.path().is_file() {
                files.push(entry.path());
            } else if entry.file_type()?.is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
                dirs.push(entry.path());
            }
        }
        layouts.extend(is_layout.then_some(dir));
    }
    files.sort();
    layouts.sort();
    Ok((files, layouts))
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
            let answer = Answer { status, retry_after: None, body: body.to_string().into_bytes() };
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
