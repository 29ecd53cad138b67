//! A ledger in a temporary directory, written with events.

use bytes::Bytes;
use pedigraph_ledger::{Batch, Blobs, INLINE_BYTES_MAX, LogId, NewEntry, Part, Reader, Writer};
use pedigraph_projector::{Moment, Scope, Views};
use pedigraph_proto::event::ArtifactPackaged;
use pedigraph_proto::wire::{Entry, Fact, Origin, Status};
use pedigraph_proto::{Event, EventId, Nanos, TenantId, canonical, fact};
use prost::Message;

pub(crate) const MINUTE: i64 = 60_000_000_000;
/// 2026-01-01T00:00:00Z.
pub(crate) const NEW_YEAR: i64 = 1_767_225_600_000_000_000;

/// A digest for a name, so that tests can speak of artifacts by names.
pub(crate) fn digest(name: &str) -> String {
    pedigraph_proto::Digest::sha256(canonical::sha256(name.as_bytes())).to_string()
}

/// An event at minutes after the new year.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) minute: i64,
    pub(crate) facts: Vec<Fact>,
}

pub(crate) fn said(id: &str, minute: i64, event: impl Into<Event>) -> Said {
    Said { id: id.to_owned(), minute, facts: vec![Fact::now(event)] }
}

pub(crate) fn packaged(name: &str, minute: i64, with: impl FnOnce(&mut ArtifactPackaged)) -> Said {
    let mut event = ArtifactPackaged { artifact_digest: digest(name), ..ArtifactPackaged::default() };
    with(&mut event);
    said(&format!("packaged {name}"), minute, event)
}

pub(crate) struct Book {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) writer: Writer,
    clock: i64,
}

impl Book {
    pub(crate) fn new() -> Book {
        let dir = tempfile::tempdir().expect("a directory");
        let options = pedigraph_ledger::Options { segment_bytes: 1 << 20, ..pedigraph_ledger::Options::default() };
        let writer = pedigraph_ledger::open(&dir.path().join("ledger"), &options).expect("a ledger");
        Book { dir, writer, clock: NEW_YEAR }
    }

    pub(crate) fn of(events: &[Said]) -> Book {
        let mut book = Book::new();
        book.commit(events);
        book
    }

    pub(crate) fn reader(&self) -> Reader {
        self.writer.reader()
    }

    /// One commit.
    pub(crate) fn commit(&mut self, events: &[Said]) {
        self.commit_of("default", events);
    }

    /// One commit in a tenant's log.
    pub(crate) fn commit_of(&mut self, tenant: &str, events: &[Said]) {
        let log = LogId::new(tenant).expect("a log");
        self.clock += MINUTE;
        let time_ns = self.writer.next_time(self.clock);
        let blobs = self.writer.blobs();
        let entries = events.iter().map(|event| new_entry(&log, event, time_ns, &blobs)).collect();
        let batch = Batch { time_ns, entries, ..Batch::default() };
        self.writer.append(batch).expect("appended");
    }

    /// A commit that holds only duplicates.
    pub(crate) fn duplicates(&mut self, source: &str, count: u64) {
        let log = LogId::new("default").expect("a log");
        let time_ns = self.writer.next_time(self.clock);
        let duplicates = vec![(log, source.to_owned(), count)];
        self.writer.append(Batch { time_ns, duplicates, ..Batch::default() }).expect("appended");
    }

    /// Views in memory that have seen everything.
    pub(crate) fn views(&self) -> Views {
        let views = Views::in_memory(self.reader()).expect("views");
        assert!(views.wait_folded(self.reader().next_seq()), "{:?}", views.fault());
        views
    }

    pub(crate) fn scope(&self) -> Scope {
        self.views().at(&TenantId::default(), Moment::default()).expect("a scope")
    }
}

fn new_entry(log: &LogId, event: &Said, time_ns: i64, blobs: &Blobs) -> NewEntry {
    let chunks: Vec<Bytes> =
        event.facts.chunks(canonical::FACTS_PER_CHUNK_MAX).map(|facts| fact::encode_chunk(facts.to_vec())).collect();
    let digests: Vec<[u8; 32]> = chunks.iter().map(|chunk| canonical::sha256(chunk)).collect();
    let kind = event.facts[0].event.as_ref().map_or("", Event::name);
    let rejected = kind == "MessageRejected";
    let id = EventId::of(&TenantId::default(), "test", &event.id, &canonical::sha256(event.id.as_bytes()));
    let subjects: Vec<String> = fact::subjects(&event.facts).iter().map(ToString::to_string).collect();
    let entry = Entry {
        version: 1,
        event_id: id.as_bytes().to_vec().into(),
        status: if rejected { Status::Rejected } else { Status::Accepted }.into(),
        r#type: kind.to_owned(),
        tenant: "default".to_owned(),
        source: "test".to_owned(),
        id: event.id.clone(),
        subjects: subjects.iter().take(canonical::LEAF_SUBJECTS_MAX).cloned().collect(),
        subject_count: if subjects.len() > canonical::LEAF_SUBJECTS_MAX {
            u32::try_from(subjects.len()).expect("few")
        } else {
            0
        },
        occurred_at: NEW_YEAR + event.minute * MINUTE,
        recorded_at: time_ns,
        origin: Some(Origin { kind: "http".to_owned(), ..Origin::default() }),
        facts_digest: canonical::facts_digest(digests.iter()).to_vec().into(),
        facts_count: u32::try_from(event.facts.len()).expect("few"),
        format: "test".to_owned(),
        ..Entry::default()
    };
    let part = |chunk: Bytes| match chunk.len() <= INLINE_BYTES_MAX {
        true => Part::Inline(chunk),
        false => blobs.put(&chunk).expect("a blob"),
    };
    NewEntry {
        log: log.clone(),
        leaf: entry.encode_to_vec().into(),
        facts: chunks.into_iter().map(part).collect(),
        body: None,
    }
}

/// A time in answers.
pub(crate) fn at(minute: i64) -> Nanos {
    Nanos(NEW_YEAR + minute * MINUTE)
}
