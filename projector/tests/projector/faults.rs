//! The view runner survives: stores that fail, folds and stores that panic, entries that always do.

use std::sync::Arc;
use std::time::Duration;

use pedigraph_projector::{Error, Moment, Scope, Views, fold_into_memory};
use pedigraph_proto::TenantId;

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

fn holds(key: &[u8], text: &str) -> bool {
    key.windows(text.len()).any(|part| part == text.as_bytes())
}

fn scope(views: &Views) -> Scope {
    views.at(&TenantId::default(), Moment::default()).expect("a scope")
}

/// Waits until everything is visible, whatever fails on the way.
fn wait(views: &Views, book: &Book) {
    let waited = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let seen = waited.block_on(views.wait_commits(book.reader().next_seq(), Duration::from_secs(120)));
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
            let here =
                write == how && (how == Write::Batch || holds(key, "r.example/drill") || holds(key, &digest("drill")));
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
