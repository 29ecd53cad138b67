//! View roots that the ledger recorded: whoever folds it again compares.

use pedigraph_projector::{Options, Views, fold_into_memory, rebuild};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::ViewRootRecorded;

use crate::book::{Book, packaged, said};

fn true_root(book: &Book) -> ViewRootRecorded {
    book.views().root_to_record(&TenantId::default()).expect("there is a root")
}

/// Commits of packages, among them a record of the root as of some commits ago.
fn recorded_book() -> Book {
    let mut book = Book::of(&[packaged("a", 1, |_| ())]);
    book.commit(&[packaged("b", 2, |_| ()), packaged("c", 2, |_| ())]);
    let root = true_root(&book);
    assert_eq!((root.next_seq, root.next_index), (book.reader().next_seq(), 3));
    book.commit(&[packaged("d", 3, |_| ())]);
    book.commit(&[packaged("e", 4, |_| ()), said("root", 4, root), packaged("f", 4, |_| ())]);
    book
}

#[test]
fn a_true_root_is_met_again_with_any_steps() {
    let book = recorded_book();
    for step_bytes in [1, 700, 1 << 20] {
        let recorded = fold_into_memory(&book.reader(), step_bytes).expect("folds").recorded;
        assert_eq!((recorded.compared, recorded.mismatched, recorded.out_of_reach), (1, 0, 0), "{recorded:?}");
        assert!(recorded.agree() && recorded.last.expect("compared").index == 5);
    }
}

#[test]
fn a_false_root_raises_an_alarm_that_outlives_the_process() {
    let mut book = recorded_book();
    let lie = ViewRootRecorded { root: format!("sha256:{}", "0".repeat(64)), ..true_root(&book) };
    let seq = lie.next_seq - 1;
    let own = book.views().root().1;
    book.commit(&[said("lie", 5, lie.clone())]);
    let dir = book.dir.path().join("views");
    let options = Options { cache_bytes: 1 << 20, store: None };
    let opened = |book: &Book| {
        let views = Views::open(&dir, book.reader(), &options).expect("opens");
        assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
        views
    };
    for _start in 0..2 {
        let views = opened(&book);
        let recorded = views.recorded_roots();
        assert!(!recorded.agree());
        assert_eq!((recorded.compared, recorded.mismatched), (2, 1));
        let last = recorded.last.expect("compared");
        assert_eq!((last.index, last.seq, &last.root, &last.own), (7, seq, &lie.root, &own));
        views.close().expect("closes");
    }
    let rebuilt = rebuild(&dir, &book.reader(), &options, &mut |_, _| ()).expect("rebuilds").recorded;
    assert_eq!((rebuilt.compared, rebuilt.mismatched, rebuilt.agree()), (2, 1, false));

    // A later root is over all rows: when it is the same, the views agree, and the difference stays counted.
    let root = true_root(&book);
    book.commit(&[said("true again", 6, root)]);
    let other = said("another version", 6, ViewRootRecorded { view_schema: u32::MAX, ..lie });
    book.commit(&[other]);
    let views = opened(&book);
    let recorded = views.recorded_roots();
    assert_eq!((recorded.compared, recorded.mismatched, recorded.other_version), (3, 1, 1));
    assert!(recorded.agree() && recorded.first_mismatch.is_some_and(|first| first.index == 7));
    views.close().expect("closes");
}
