//! `pedigraph log stats`: what a ledger costs. Reads a directory, whose server may be running, and holds one step of
//! its journal in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context;
use clap::Args;
use pedigraph_ledger::{Commit, Reader};
use pedigraph_proto::Nanos;
use serde_json::{Value, json};

use crate::arguments::DataDirectory;
use crate::data_dir::existing_ledger;
use crate::output::{Format, answer, progress_bar, put};

/// Bytes of journal that are read at once.
const STEP_BYTES: usize = 4 << 20;
/// Days whose growth is said, the newest.
const DAYS_MAX: usize = 366;
const DAY_NS: i64 = 86_400_000_000_000;
/// Bytes of a segment that are looked at once for its end.
const PIECE_BYTES: u64 = 64 << 10;

/// `pedigraph log stats`
#[derive(Args, Debug)]
pub(crate) struct Stats {
    #[command(flatten)]
    data: DataDirectory,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// What the journal holds of one tenant, or of one day.
#[derive(Default)]
struct Content {
    entries: u64,
    leaf_bytes: u64,
    facts_bytes: u64,
    bodies: u64,
    body_bytes: u64,
    erased: u64,
}

/// Files of one kind.
#[derive(Clone, Copy, Default)]
struct Files {
    count: u64,
    bytes: u64,
}

#[derive(Default)]
struct Totals {
    tenants: BTreeMap<String, Content>,
    days: BTreeMap<i64, Content>,
}

impl Stats {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let dir = existing_ledger(&self.data.path())?;
        let reader = pedigraph_ledger::open_reader(&dir)?;
        let (totals, commits) = read(&reader)?;
        let body = described(&dir, &totals, commits)?;
        if self.output != Format::Table {
            answer(self.output, &body, std::slice::from_ref(&body), &[]);
            return Ok(());
        }
        print(&body);
        Ok(())
    }
}

fn read(reader: &Reader) -> anyhow::Result<(Totals, u64)> {
    let end = reader.next_seq();
    let bar = progress_bar(end, "commits");
    let (mut totals, mut seq) = (Totals::default(), 0);
    while seq < end {
        let commits = reader.commits(seq, STEP_BYTES)?;
        let Some(last) = commits.last() else { break };
        seq = last.seq + 1;
        commits.iter().for_each(|commit| totals.add(commit));
        bar.set_position(seq);
    }
    bar.finish_and_clear();
    Ok((totals, seq))
}

impl Totals {
    fn add(&mut self, commit: &Commit) {
        let day = self.days.entry(commit.time_ns.div_euclid(DAY_NS)).or_default();
        for entry in &commit.entries {
            for content in [&mut *day, self.tenants.entry(entry.log.as_str().to_owned()).or_default()] {
                content.entries += 1;
                content.leaf_bytes += entry.leaf.len() as u64;
                content.facts_bytes += entry.facts.iter().map(|part| part.size).sum::<u64>();
                content.bodies += u64::from(entry.body.is_some());
                content.body_bytes += entry.body.as_ref().map_or(0, |part| part.size);
            }
        }
        for (log, _) in &commit.erasures {
            day.erased += 1;
            self.tenants.entry(log.as_str().to_owned()).or_default().erased += 1;
        }
        if self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
    }
}

impl Content {
    fn json(&self) -> Value {
        json!({
            "entries": self.entries, "leafBytes": self.leaf_bytes, "factsBytes": self.facts_bytes,
            "bodies": self.bodies, "bodyBytes": self.body_bytes, "erased": self.erased,
        })
    }
}

fn described(dir: &Path, totals: &Totals, commits: u64) -> anyhow::Result<Value> {
    let all = files(dir, &|_| true)?;
    let below = |path: &str| files(&dir.join(path), &|_| true);
    let segments = files(&dir.join("journal"), &|path| path.extension().is_some_and(|name| name == "seg"))?;
    let has_tiles = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hashes-"));
    let tiles = files(&dir.join("logs"), &has_tiles)?;
    let (blobs, bodies, reserved) = (below("blobs")?, below("bodies")?, reserved(dir)?);
    let entries: u64 = totals.tenants.values().map(|tenant| tenant.entries).sum();
    let erased: u64 = totals.tenants.values().map(|tenant| tenant.erased).sum();
    let tenants: serde_json::Map<_, _> = totals.tenants.iter().map(|(name, c)| (name.clone(), c.json())).collect();
    let day = |(day, content): (&i64, &Content)| {
        let mut row = content.json();
        row["day"] = Nanos(day * DAY_NS).to_string().chars().take("2026-01-01".len()).collect::<String>().into();
        row
    };
    Ok(json!({
        "directory": dir, "commits": commits, "entries": entries, "erased": erased,
        "bytes": all.bytes, "reservedBytes": reserved,
        "bytesPerEntry": all.bytes.saturating_sub(reserved).checked_div(entries),
        "segments": segments.json(), "blobs": blobs.json(), "bodies": bodies.json(), "tiles": tiles.json(),
        "tenants": tenants, "days": totals.days.iter().map(day).collect::<Vec<_>>(),
    }))
}

impl Files {
    fn json(self) -> Value {
        json!({ "count": self.count, "bytes": self.bytes })
    }
}

/// Files below a directory. One that goes meanwhile is none: a writer may be at work.
fn files(dir: &Path, counts: &dyn Fn(&Path) -> bool) -> anyhow::Result<Files> {
    let mut found = Files::default();
    let names = match fs::read_dir(dir) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(found),
        names => names.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    for name in names {
        let name = name?;
        let kind = match name.metadata() {
            Err(why) if why.kind() == ErrorKind::NotFound => continue,
            kind => kind?,
        };
        if kind.is_dir() {
            let below = files(&name.path(), counts)?;
            found = Files { count: found.count + below.count, bytes: found.bytes + below.bytes };
        } else if counts(&name.path()) {
            found = Files { count: found.count + 1, bytes: found.bytes + kind.len() };
        }
    }
    Ok(found)
}

/// Zeros that are on the disk for what will come: behind the last commit, and the next segment.
fn reserved(dir: &Path) -> anyhow::Result<u64> {
    let journal = dir.join("journal");
    let spare = fs::metadata(journal.join("spare")).map_or(0, |file| file.len());
    let segments = fs::read_dir(&journal)?.filter_map(|name| Some(name.ok()?.path()));
    let newest = segments.filter(|path| path.extension().is_some_and(|name| name == "seg")).max();
    let Some(newest) = newest else { return Ok(spare) };
    let mut file = File::open(newest)?;
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let from = end.saturating_sub(PIECE_BYTES);
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.by_ref().take(end - from).read_to_end(&mut piece)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
            end = from + last as u64 + 1;
            break;
        }
        end = from;
    }
    Ok(spare + length - end)
}

fn print(body: &Value) {
    put(&format!("{} entries in {} commits, {} bodies erased", body["entries"], body["commits"], body["erased"]));
    let each = body["bytesPerEntry"].as_u64().map_or_else(String::new, |bytes| format!(", {bytes} bytes an entry"));
    put(&format!("{} bytes on disk, {} of them reserved{each}", body["bytes"], body["reservedBytes"]));
    for kind in ["segments", "blobs", "bodies", "tiles"] {
        put(&format!("{kind}: {} files, {} bytes", body[kind]["count"], body[kind]["bytes"]));
    }
    let row = |(name, content): (&String, &Value)| {
        let mut row = content.clone();
        row["tenant"] = name.clone().into();
        row
    };
    let tenants: Vec<_> = body["tenants"].as_object().into_iter().flatten().map(row).collect();
    let columns = [
        ("ENTRIES", "/entries"),
        ("LEAF BYTES", "/leafBytes"),
        ("FACTS BYTES", "/factsBytes"),
        ("BODIES", "/bodies"),
        ("BODY BYTES", "/bodyBytes"),
        ("ERASED", "/erased"),
    ];
    let table = |first: (&'static str, &'static str), rows: &[Value]| {
        let columns: Vec<_> = std::iter::once(first).chain(columns).collect();
        answer(Format::Table, body, rows, &columns);
    };
    table(("TENANT", "/tenant"), &tenants);
    table(("DAY", "/day"), body["days"].as_array().map_or(&[], Vec::as_slice));
}
