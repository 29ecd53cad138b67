//! A real ledger with its views, for tests and benches.
#![expect(unreachable_pub, reason = "shared by test binaries and benches")]

use pedigraph_ledger::{Batch, Blobs, INLINE_BYTES_MAX, LogId, NewEntry, Part, Writer};
use pedigraph_projector::{AsOf, Moment, Scope, Views};
use pedigraph_proto::wire::{Entry, Fact};
use pedigraph_proto::{Event, EventId, Nanos, TenantId, canonical, fact};
use prost::Message;

pub const SECOND: i64 = 1_000_000_000;

/// A ledger with its views, in a directory that goes away.
pub struct World {
    pub dir: tempfile::TempDir,
    pub writer: Writer,
}

impl World {
    pub fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let options = pedigraph_ledger::Options { segment_bytes: 1 << 20, ..pedigraph_ledger::Options::default() };
        let writer = pedigraph_ledger::open(&dir.path().join("ledger"), &options).expect("a ledger");
        World { dir, writer }
    }

    pub fn append(&mut self, events: &[Sent]) {
        for chunk in events.chunks(1_024) {
            let time_ns = self.writer.next_time(Nanos::parse("2027-01-01").expect("a time").0);
            let blobs = self.writer.blobs();
            let entries = chunk.iter().map(|sent| sent.entry(time_ns, &blobs)).collect();
            self.writer.append(Batch { time_ns, entries, ..Batch::default() }).expect("appended");
        }
    }

    pub fn views(&self) -> Views {
        let views = Views::in_memory(self.writer.reader()).expect("views");
        assert!(views.wait_folded(self.writer.reader().next_seq()), "{:?} in {:?}", views.fault(), self.dir);
        views
    }
}

pub fn scope(views: &Views, at: Option<i64>, as_of: Option<u64>) -> Scope {
    let moment = Moment { at: at.map(Nanos), as_of: as_of.map(AsOf::Index) };
    views.at(&TenantId::default(), moment).expect("a scope")
}

/// An event on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub time: i64,
    pub id: String,
    pub events: Vec<Event>,
}

impl Sent {
    pub fn event_id(&self) -> EventId {
        EventId::of(&TenantId::default(), "/test", &self.id, &canonical::sha256(self.id.as_bytes()))
    }

    pub fn entry(&self, recorded_at: i64, blobs: &Blobs) -> NewEntry {
        let facts: Vec<Fact> = self.events.iter().cloned().map(Fact::now).collect();
        let facts_count = u32::try_from(facts.len()).expect("few");
        let name = self.events.first().map_or("", Event::name).to_owned();
        let chunk = fact::encode_chunk(facts);
        let leaf = Entry {
            version: 1,
            event_id: self.event_id().as_bytes().to_vec().into(),
            status: 1,
            r#type: name,
            tenant: "default".to_owned(),
            source: "/test".to_owned(),
            id: self.id.clone(),
            occurred_at: self.time,
            recorded_at,
            time_source: 1,
            facts_digest: canonical::facts_digest([canonical::sha256(&chunk)].iter()).to_vec().into(),
            facts_count,
            ..Entry::default()
        };
        let leaf = leaf.encode_to_vec().into();
        let part =
            if chunk.len() <= INLINE_BYTES_MAX { Part::Inline(chunk) } else { blobs.put(&chunk).expect("a blob") };
        NewEntry { log: LogId::default_log(), leaf, facts: vec![part], body: None }
    }
}

/// Numbers from a seed that is printed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("below n")
    }
}

#[expect(clippy::print_stdout, reason = "a seed is printed so that a failure can be repeated")]
pub fn seed() -> u64 {
    let seed = std::env::var("PEDIGRAPH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    println!("PEDIGRAPH_SEED={seed}");
    seed
}
