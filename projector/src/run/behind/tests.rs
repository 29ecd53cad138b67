//! Tenants that are behind: nobody waits for them, and what is folded is the same in the end.

use std::collections::BTreeSet;
use std::sync::Arc;

use pedigraph_proto::event::{ArtifactPackaged, Component, ComponentsListed, ViewRootRecorded};
use pedigraph_proto::wire::Fact;
use pedigraph_proto::{Digest, TenantId, canonical};

use crate::derived;
use crate::facts::ViewSet;
use crate::run::folder::Folder;
use crate::run::progress::ROWS_VERSION;
use crate::run::rebuild::{Folded, fold_into};
use crate::run::runner::{STEP_BYTES_MAX, step};
use crate::run::test_log::Log;
use crate::store::{MemStore, Row, Store};

fn digest(text: &str) -> String {
    Digest::sha256(canonical::sha256(text.as_bytes())).to_string()
}

fn packaged(name: &str) -> Vec<Vec<Fact>> {
    let event = ArtifactPackaged { artifact_digest: digest(name), ..Default::default() };
    vec![vec![Fact::now(event)]]
}

/// A document of components in slices, some in each chunk.
fn listed(name: &str, slices: u32, components: u32) -> Vec<Vec<Fact>> {
    let slice = |n: u32| {
        let of = |m: u32| Component { purl: format!("pkg:npm/{name}-{n}-{m}@1.{m}"), ..Default::default() };
        let components = (0..components).map(of).collect();
        Fact::now(ComponentsListed { component_set: digest(name), first: n * 8_000, components })
    };
    (0..slices).map(slice).collect::<Vec<_>>().chunks(3).map(<[Fact]>::to_vec).collect()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

fn all_rows(store: &dyn Store) -> Vec<Row> {
    store.scan(&[1], &[0xff], false, usize::MAX).expect("in memory")
}

fn folder_of(store: &Arc<MemStore>) -> Folder {
    Folder::open(store.clone(), Arc::new(ViewSet::default()), Arc::new(derived::all())).expect("opens")
}

/// One step, and how many entries of two tenants are folded after it.
fn one_step(log: &Log, folder: &mut Folder, bytes_max: usize) -> (u64, u64) {
    step(&log.reader(), folder, bytes_max, &|_| ()).expect("folds");
    folder.finish_step(|_| Box::new(|| {})).expect("written");
    folder.settle().expect("written");
    (folder.progress().next_of(&tenant("wide")), folder.progress().next_of(&tenant("small")))
}

#[test]
fn a_wide_entry_keeps_nobody_else_waiting() {
    let mut log = Log::new();
    log.commit(vec![("wide", listed("app", 60, 4_000)), ("small", packaged("a"))], &[]);
    log.commit(vec![("small", packaged("b")), ("wide", packaged("w"))], &[("small", 2), ("wide", 3)]);
    let store = Arc::new(MemStore::default());
    let mut folder = folder_of(&store);
    let mut steps = Vec::new();
    while folder.progress().next_seq < 2 || folder.has_work() {
        steps.push(one_step(&log, &mut folder, STEP_BYTES_MAX));
    }
    let before: Vec<_> = steps.iter().take_while(|(wide, _)| *wide == 0).collect();
    assert!(before.len() > 5, "it takes many steps: {steps:?}");
    assert!(before[2].1 == 2, "the other one is through after two, and one of views that stand apart: {steps:?}");
    assert_eq!(steps.last(), Some(&(2, 2)));
    // What comes meanwhile is folded with the step that sees it, or the next, where that is of views that stand apart.
    let mut folder = folder_of(&Arc::new(MemStore::default()));
    one_step(&log, &mut folder, STEP_BYTES_MAX);
    one_step(&log, &mut folder, STEP_BYTES_MAX);
    log.commit(vec![("small", packaged("c"))], &[]);
    one_step(&log, &mut folder, STEP_BYTES_MAX);
    assert_eq!(one_step(&log, &mut folder, STEP_BYTES_MAX), (0, 3));
}

#[test]
fn nobody_waits_for_many_small_entries_of_another() {
    let mut log = Log::new();
    for n in 0..60 {
        log.commit((0..500).map(|m| ("many", packaged(&format!("{n}-{m}")))).collect(), &[]);
    }
    log.commit(vec![("small", packaged("a"))], &[]);
    let store = Arc::new(MemStore::default());
    let mut folder = folder_of(&store);
    while one_step(&log, &mut folder, STEP_BYTES_MAX).1 == 0 {}
    let folded = folder.progress().next_of(&tenant("many"));
    assert!(folded > 0 && folded < 20_000, "they take turns: {folded}");
    while folder.has_work() {
        one_step(&log, &mut folder, STEP_BYTES_MAX);
    }
    assert_eq!(folder.progress().next_of(&tenant("many")), 30_000);
    assert_eq!(all_rows(store.as_ref()), straight(&log, usize::MAX).0);
}

/// Entries of two tenants in commits of some size, among them wide ones, duplicates, and a record of the root.
fn some(entries_per_commit: usize) -> Log {
    let mut log = Log::new();
    let entries = |n: usize| match n % 5 {
        0 => ("wide", listed(&format!("app{}", n % 2), 7, 40)),
        1 | 3 => ("small", packaged(&format!("s{n}"))),
        2 => ("wide", packaged(&format!("w{n}"))),
        _ => ("small", listed(&format!("lib{n}"), 2, 20)),
    };
    for from in (0..20).step_by(entries_per_commit) {
        let entries = (from..20.min(from + entries_per_commit)).map(entries).collect();
        log.commit(entries, &[("small", from as u64), ("wide", 1)]);
        log.commit(vec![], &[("wide", 2)]);
    }
    let folded = fold_into(Arc::new(MemStore::default()), &log.reader(), 1 << 20).expect("folds");
    let root =
        ViewRootRecorded { view_schema: ROWS_VERSION, next_seq: folded.commits, next_index: 0, root: folded.root };
    log.commit(vec![("small", vec![vec![Fact::now(root)]])], &[]);
    log.commit(vec![("wide", packaged("last"))], &[]);
    log
}

fn straight(log: &Log, step_bytes: usize) -> (Vec<Row>, Folded) {
    let store = Arc::new(MemStore::default());
    let folded = fold_into(store.clone(), &log.reader(), step_bytes).expect("folds");
    (all_rows(store.as_ref()), folded)
}

#[test]
fn any_split_gives_the_same_rows_and_the_recorded_root() {
    for entries_per_commit in [1, 4, 20] {
        let log = some(entries_per_commit);
        let (rows, folded) = straight(&log, 1 << 20);
        assert_eq!((folded.recorded.compared, folded.recorded.mismatched), (1, 0));
        for step_bytes in [1, 100, 1_000, 3_000, 20_000] {
            let (again, then) = straight(&log, step_bytes);
            assert!(again == rows, "{entries_per_commit} {step_bytes}");
            assert_eq!(then, folded, "{entries_per_commit} {step_bytes}");
        }
    }
}

#[test]
fn a_restart_after_any_step_changes_nothing() {
    let log = some(4);
    let (rows, folded) = straight(&log, 1 << 20);
    for step_bytes in [100, 1_600] {
        for lives in 1..6 {
            let store = Arc::new(MemStore::default());
            let (mut steps, mut folder) = (0, folder_of(&store));
            while folder.progress().next_seq < log.reader().next_seq() || folder.has_work() {
                // A restart in the middle of what is wider than a life's steps begins it anew: it must fit at last.
                let life = lives * (1 + steps / 20);
                one_step(&log, &mut folder, step_bytes);
                steps += 1;
                if steps % life == 0 {
                    folder = folder_of(&store);
                }
            }
            assert_eq!(folder.progress().root(), folded.root, "{step_bytes} {lives}");
            // Opening writes the list of packed segments, also of none.
            let again: BTreeSet<Row> = all_rows(store.as_ref()).into_iter().collect();
            assert!(rows.iter().all(|row| again.contains(row)), "{step_bytes} {lives}");
        }
    }
}
