//! What a large document takes: bytes that are allocated at once, counted. It does not hang on when an allocator gives
//! memory back.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use pedigraph_ledger::Options;
use pedigraph_processor::Config;
use pedigraph_proto::TenantId;
use pedigraph_proto::message::{Body, Message, Status, Submitted};
use pedigraph_proto::wire::Origin;

/// The system's allocator, counting what is allocated by any thread.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counted = Counted;

#[expect(unsafe_code, reason = "an allocator is unsafe to write; this one hands everything on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A CycloneDX document of more than 50 MB.
fn write_document(path: &Path, components: usize) -> u64 {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let root = r#"{"type":"container","name":"billing","version":"9"}"#;
    write!(
        out,
        r#"{{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,"metadata":{{"component":{root}}},"components":["#
    )
    .unwrap();
    for n in 0..components {
        let comma = if n == 0 { "" } else { "," };
        write!(
            out,
            r#"{comma}{{"type":"library","bom-ref":"ref-{n}","group":"@scope-{}","name":"module-{n}","version":"{}.4.{n}","licenses":[{{"license":{{"id":"MIT"}}}}],"purl":"pkg:npm/%40scope-{}/module-{n}@{}.4.{n}"}}"#,
            n % 89, n % 7, n % 89, n % 7
        )
        .unwrap();
    }
    write!(out, "]}}").unwrap();
    out.into_inner().unwrap().metadata().unwrap().len()
}

fn message(path: &Path, size: u64) -> Message {
    Message {
        tenant: TenantId::default(),
        origin: Origin { kind: "http".to_owned(), topic: "/api/v1/documents".to_owned(), ..Origin::default() },
        source: "http".to_owned(),
        headers: vec![("content-type".to_owned(), Some("application/vnd.cyclonedx+json".into()))],
        body: Body::File { path: path.to_owned(), size },
        subject: Some(format!("sha256:{}", "5c".repeat(32))),
        format: None,
        broker_time: None,
        replay_of: None,
    }
}

/// Until it is durable; pages that an allocator keeps are not in it, nor is the upload. Most of it are the facts,
/// packed, which are written as one; another copy of the document would be 59 MB more.
#[test]
fn fifty_megabytes_are_never_in_memory_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let writer = pedigraph_ledger::open(&dir.path().join("ledger"), &Options::default()).unwrap();
    let processor = pedigraph_processor::start(writer, Config::new(dir.path())).unwrap();
    let file = dir.path().join("billing.json");
    let size = write_document(&file, 300_000);
    assert!(size > 50_000_000, "{size} bytes");
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let submitted = processor.intake().submit_blocking(message(&file, size)).unwrap();
    let taken = PEAK.load(Ordering::Relaxed) - before;
    let Submitted::One(receipt) = submitted else { panic!("one document, one receipt") };
    assert_eq!(receipt.status, Status::Accepted, "{receipt:?}");
    assert!(taken < 60 << 20, "{taken} bytes at once for a document of {size} bytes");
    processor.shutdown();
}
