//! The view runner survives: stores that fail, folds and stores that panic, entries that always do.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use pedigraph_ledger::LogId;
use pedigraph_projector::store::{MemStore, Row, Store};
use pedigraph_projector::{Error, Moment, Options, Scope, Views, fold_into_memory};
use pedigraph_proto::{Digest, TenantId, canonical};

use crate::book::{Book, Said, digest, packaged};
use crate::watched::{Before, Watched, Write};

fn built(name: &str, minute: i64) -> Said {
    packaged(name, minute, |event| event.artifact_ref = format!("r.example/{name}:1"))
}

fn some_events() -> Vec<Said> {
    ["lathe", "mill", "drill", "saw"].iter().zip(1..).map(|(name, minute)| built(name, minute)).collect()
}

fn failing(store: &Watched, before: impl FnMut(&[u8], Write) -> Result<(), Error> + Send + 'static) {
    let before: Before = Box::new(before);
    *store.before.lock().expect("not poisoned") = Some(before);
}

/// Keys hold digests as bytes.
fn holds(key: &[u8], part: impl AsRef<[u8]>) -> bool {
    key.windows(part.as_ref().len()).any(|within| within == part.as_ref())
}

fn scope(views: &Views) -> Scope {
    views.at(&TenantId::default(), Moment::default()).expect("a scope")
}

/// Waits until everything is visible, whatever fails on the way.
fn wait(views: &Views, book: &Book) {
    let waited = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let seen =
        waited.block_on(views.wait_commits(&TenantId::default(), book.reader().next_seq(), Duration::from_secs(120)));
    assert!(seen, "{:?}", views.fault());
}

#[test]
fn a_store_that_fails_is_told_and_tried_again_and_what_was_seen_stays_seen() {
    let mut book = Book::of(&some_events());
    let store = Arc::new(Watched::default());
    let views = Views::in_store(store.clone(), book.reader()).expect("views");
    wait(&views, &book);
    failing(&store, |_, _| Err(Error::Store("no space left on this disk".into())));
    book.commit_of("another", &[built("press", 9)]);
    assert!(!views.wait_folded(book.reader().next_seq()), "folding fails");
    let fault = views.fault().expect("it is told");
    assert!(fault.contains("no space left on this disk"), "{fault}");
    assert_eq!(views.lag_ms(&TenantId::default(), i64::MAX), 0);
    assert!(views.lag_ms_max(i64::MAX) > 0, "of every tenant it is told how far it is behind");
    assert!(scope(&views).artifact(&digest("saw")).expect("read").is_some(), "readers go on meanwhile");
    *store.before.lock().expect("not poisoned") = None;
    wait(&views, &book);
    assert_eq!(views.fault(), None);
    assert!(views.faults() >= 1);
    assert_eq!(views.lag_ms_max(i64::MAX), 0);
    assert_eq!(views.root().1, fold_into_memory(&book.reader(), 1 << 20).expect("folds").root);
}

#[test]
fn a_panic_that_does_not_come_again_costs_nothing() {
    for (how, times) in
        [(Write::Insert, 1), (Write::InsertNew, 1), (Write::Batch, 1), (Write::Insert, 2), (Write::InsertNew, 2)]
    {
        let book = Book::of(&some_events());
        let store = Arc::new(Watched::default());
        let mut left = times;
        failing(&store, move |key, write| {
            let here = write == how
                && (how == Write::Batch || holds(key, "r.example/drill") || holds(key, canonical::sha256(b"drill")));
            if here && left > 0 {
                left -= 1;
                panic!("a page is gone");
            }
            Ok(())
        });
        let views = Views::in_store(store, book.reader()).expect("views");
        wait(&views, &book);
        assert_eq!((views.faults(), views.unreadable()), (times, 0), "{how:?}");
        assert_eq!(views.root().1, fold_into_memory(&book.reader(), 1 << 20).expect("folds").root, "{how:?} {times}");
        assert!(scope(&views).artifact(&digest("drill")).expect("read").is_some());
    }
}

#[test]
fn an_entry_whose_folding_always_panics_is_set_aside_and_counted() {
    let book = Book::of(&some_events());
    let store = Arc::new(Watched::default());
    failing(&store, |key, write| {
        assert!(write != Write::InsertNew || !holds(key, "r.example/drill"), "a fold that cannot do it");
        Ok(())
    });
    let views = Views::in_store(store, book.reader()).expect("views");
    let before = scope(&views);
    wait(&views, &book);
    assert_eq!((views.faults(), views.unreadable(), views.fault()), (3, 1, None));
    let scope = scope(&views);
    assert!(scope.artifact(&digest("drill")).expect("read").is_none());
    for name in ["lathe", "mill", "saw"] {
        assert!(scope.artifact(&digest(name)).expect("read").is_some(), "{name}");
    }
    let ended = before.artifact(&digest("saw")).map(|_| ()).expect_err("it began before the views were folded anew");
    assert!(ended.to_string().contains("ask again"), "{ended}");
}

#[test]
fn an_entry_that_was_set_aside_stays_so_when_the_views_are_folded_anew_by_the_same_version() {
    let book = Book::of(&some_events());
    let drill = book.reader().entry(&LogId::default_log(), 2).expect("read").expect("an entry");
    let schema = book.views().root_to_record(&TenantId::default()).expect("a root").view_schema;
    let this = format!("{} {schema}", env!("CARGO_PKG_VERSION"));
    let hash = Digest::sha256(drill.leaf_hash.0);
    for (name, version, unreadable) in [("same", this, 1), ("another", format!("0.0.9 {schema}"), 0)] {
        let dir = book.dir.path().join(name);
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::write(dir.join("set-aside"), format!("{version}\ndefault 2 {hash}\n")).expect("written");
        let views = Views::open(&dir, book.reader(), &Options::default()).expect("opens");
        wait(&views, &book);
        assert_eq!((views.faults(), views.unreadable()), (0, unreadable), "{name}");
        let found = scope(&views).artifact(&digest("drill")).expect("read");
        assert_eq!(found.is_none(), unreadable == 1, "{name}");
        views.close().expect("closes");
    }
}

/// A store that fails once, and loses all that it had when it is opened again, as one may that was not flushed.
#[derive(Default)]
struct Forgetful {
    rows: MemStore,
    fails: Mutex<Option<Renewed>>,
    /// Told at each read while the store is opened again.
    reads: Mutex<Option<mpsc::Sender<()>>>,
}

/// Tells that the rows are lost, and waits before the store is open.
struct Renewed {
    lost: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl Forgetful {
    fn read<T>(&self, rows: Result<T, Error>) -> Result<T, Error> {
        let told = self.reads.lock().expect("not poisoned").take();
        told.into_iter().for_each(|told| told.send(()).expect("the test waits"));
        rows
    }

    fn write(&self) -> Result<(), Error> {
        let fails = self.fails.lock().expect("not poisoned").is_some();
        if fails { Err(Error::Store("no space left on this disk".into())) } else { Ok(()) }
    }
}

impl Store for Forgetful {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(self.rows.get(key))
    }
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write()?;
        self.rows.insert(key, value)
    }
    fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.write()?;
        self.rows.insert_new(key, value)
    }
    fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.rows.remove(key)
    }
    fn batch(&self, rows: &[Row]) -> Result<(), Error> {
        self.write()?;
        self.rows.batch(rows)
    }
    fn scan(&self, from: &[u8], to: &[u8], reverse: bool, limit: usize) -> Result<Vec<Row>, Error> {
        self.read(self.rows.scan(from, to, reverse, limit))
    }
    fn flush(&self) -> Result<(), Error> {
        self.rows.flush()
    }
    fn renew(&self, _anew: bool) -> Result<(), Error> {
        self.rows.renew(true)?;
        let renewed = self.fails.lock().expect("not poisoned").take();
        renewed.into_iter().for_each(|renewed| {
            renewed.lost.send(()).expect("the test waits");
            renewed.go.recv().expect("the test goes on");
        });
        Ok(())
    }
}

#[test]
fn a_store_that_lost_what_it_showed_answers_no_question_from_before() {
    let mut book = Book::of(&some_events());
    let store = Arc::new(Forgetful::default());
    let views = Views::in_store(store.clone(), book.reader()).expect("views");
    wait(&views, &book);
    let before = scope(&views);
    assert!(before.artifact(&digest("saw")).expect("read").is_some());
    let ((lost, when_lost), (open, go)) = (mpsc::channel(), mpsc::channel());
    *store.fails.lock().expect("not poisoned") = Some(Renewed { lost, go });
    book.commit_of("another", &[built("press", 9)]);
    when_lost.recv().expect("it is opened again");
    let (read, when_read) = mpsc::channel();
    *store.reads.lock().expect("not poisoned") = Some(read);
    let asked = std::thread::spawn(move || before.artifact(&digest("saw")).map(|found| found.is_some()));
    when_read.recv().expect("the question reads");
    open.send(()).expect("the store waits");
    let answer = asked.join().expect("no panic");
    assert!(matches!(answer, Err(Error::FoldedAnew)), "{answer:?}");
    wait(&views, &book);
    assert!(scope(&views).artifact(&digest("saw")).expect("read").is_some());
    assert_eq!(views.root().1, fold_into_memory(&book.reader(), 1 << 20).expect("folds").root);
}
