//! What must hold for any events: order, repetition and batch size change no answer and no root.

use std::path::Path;

use pedigraph_projector::Options;
use pedigraph_projector::store::StoreKind;
use pedigraph_projector::{Moment, Views, fold_into_memory, rebuild};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{
    ArtifactPublished, AttestationAttached, ImageObserved, Material, PlatformManifest, ServiceDeployed, TagObserved,
};
use pedigraph_proto::wire::Fact;
use proptest::prelude::*;

use crate::book::{Book, Said, digest, packaged, said};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Events about few artifacts at few moments, so that they meet.
fn event() -> impl Strategy<Value = Said> {
    let name = || prop::sample::select(&NAMES[..]);
    let parts = (0_u8..7, name(), name(), name(), 0_i64..5, 0_u32..3);
    parts.prop_map(|(kind, a, b, c, minute, n)| {
        let id = format!("{kind} {a} {b} {c} {minute} {n}");
        let event: pedigraph_proto::Event = match kind {
            0 => {
                return Said {
                    id,
                    ..packaged(a, minute, |event| {
                        event.artifact_ref = format!("r.io/app:1.{n}.0");
                        event.run = format!("run {b}");
                        event.commit = format!("{c}{c}{c}{c}{c}{c}{c}");
                        event.pipeline = "p".into();
                        event.parent_digests = if n == 2 { vec![digest(c)] } else { vec![] };
                    })
                };
            }
            1 => ArtifactPublished {
                artifact_digest: digest(a),
                artifact_ref: format!("r.io/app:{b}"),
                ..Default::default()
            }
            .into(),
            2 => TagObserved {
                repository: "r.io/app".into(),
                tag: c.into(),
                digest: if n == 0 { String::new() } else { digest(a) },
            }
            .into(),
            3 => ImageObserved {
                digest: digest(a),
                digest_kind: 2,
                config_digest: digest(b),
                artifact_ref: "r.io/app:live".into(),
                diff_ids: (0..=n).map(|layer| format!("sha256:{layer}")).collect(),
                ..Default::default()
            }
            .into(),
            4 => ImageObserved {
                digest: digest(a),
                digest_kind: 1,
                manifests: vec![PlatformManifest {
                    digest: digest(b),
                    platform: if n == 0 { "linux/amd64".into() } else { "linux/arm64".into() },
                    artifact_type: String::new(),
                }],
                ..Default::default()
            }
            .into(),
            5 => AttestationAttached {
                artifact_digests: vec![digest(a), digest(b)],
                predicate_type: "p".into(),
                invocation: format!("run {c}"),
                materials: vec![Material { uri: format!("pkg:docker/x@{}", digest(c)), ..Default::default() }],
                ..Default::default()
            }
            .into(),
            _ => ServiceDeployed {
                service: b.into(),
                environment: "prod".into(),
                artifact_digest: if n == 0 { String::new() } else { digest(a) },
                artifact_ref: format!("r.io/app:{c}"),
                ..Default::default()
            }
            .into(),
        };
        said(&id, minute, event)
    })
}

fn distinct(mut events: Vec<Said>) -> Vec<Said> {
    events.sort_by(|a, b| a.id.cmp(&b.id));
    events.dedup_by(|a, b| a.id == b.id);
    events
}

/// In the order of their minutes, no two in one.
fn at_times_of_their_own(mut events: Vec<Said>) -> Vec<Said> {
    events.sort_by_key(|event| event.minute);
    (0..).zip(&mut events).for_each(|(n, event)| event.minute = event.minute * 2 + n);
    events
}

fn state_hash(book: &Book) -> String {
    let views = book.views();
    let hash = views.at(&TenantId::default(), Moment::default()).expect("a scope").state_hash().expect("read");
    views.close().expect("closed");
    hash
}

/// Cuts events into commits at some places.
fn commits(events: &[Said], cuts: &[usize]) -> Book {
    let mut book = Book::new();
    let mut from = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (events.len() + 1)).collect();
    ends.push(events.len());
    ends.sort_unstable();
    for end in ends {
        if end > from {
            book.commit(&events[from..end]);
            from = end;
        }
    }
    book
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same set of events in any order gives the same answers, where each has a time of its own: of equal times the
    /// later arrival wins.
    #[test]
    fn any_order_gives_the_same_state(events in prop::collection::vec(event(), 1..25), seed in any::<u64>()) {
        let events = at_times_of_their_own(distinct(events));
        let mut shuffled = events.clone();
        let mut state = seed | 1;
        for n in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(n, usize::try_from(state >> 33).expect("small") % (n + 1));
        }
        prop_assert_eq!(state_hash(&commits(&events, &[])), state_hash(&commits(&shuffled, &[3, 7])));
    }

    /// Steps of any size, any store: the same rows.
    #[test]
    fn any_step_gives_the_same_root(events in prop::collection::vec(event(), 1..25), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let book = commits(&distinct(events), &cuts);
        let reader = book.reader();
        let folded = fold_into_memory(&reader, 1).expect("folds");
        for step_bytes in [700, 5_000, 1 << 20] {
            prop_assert_eq!(&fold_into_memory(&reader, step_bytes).expect("folds"), &folded);
        }
        for store in STORES {
            let dir = book.dir.path().join(store.to_string());
            let options = Options { cache_bytes: 1 << 20, store: Some(store) };
            prop_assert_eq!(&rebuild(&dir, &reader, &options, &mut |_, _| ()).expect("folds"), &folded);
            let views = Views::open(&dir, reader.clone(), &options).expect("opens");
            prop_assert_eq!(&views.root().1, &folded.root);
            views.close().expect("closes");
        }
    }
}

#[test]
fn facts_of_an_unknown_type_are_counted_and_cost_nothing_else() {
    let known = packaged("a", 1, |event| event.artifact_ref = "r.io/app:1".into());
    let mut unknown = packaged("b", 2, |event| event.artifact_ref = "r.io/app:2".into());
    // As this version reads a fact whose type came later: it has no event.
    unknown.facts.splice(1..1, vec![Fact::default(); 3]);
    unknown.facts.push(Fact::now(TagObserved { repository: "r.io/app".into(), tag: "t".into(), digest: digest("b") }));
    let book = Book::of(&[known.clone(), unknown.clone()]);
    assert_eq!(book.views().unreadable(), 3);
    assert_eq!(Book::of(&[known]).views().unreadable(), 0);
    let scope = book.scope();
    assert!(scope.artifact(&digest("b")).expect("reads").is_some(), "what is known in the same entry is folded");
}

fn some_events() -> Vec<Said> {
    (0..50).map(|n| packaged(&format!("v{n}"), n, |event| event.artifact_ref = format!("r.io/app:1.{n}.0"))).collect()
}

const STORES: [StoreKind; 2] = [StoreKind::Sled, StoreKind::Fjall];

/// Views that have folded everything.
fn opened(dir: &Path, book: &Book, store: Option<StoreKind>) -> Views {
    let options = Options { cache_bytes: 1 << 20, store };
    let views = Views::open(dir, book.reader(), &options).expect("opens");
    assert!(views.wait_folded(book.reader().next_seq()));
    views
}

#[test]
fn views_go_on_where_they_stopped_and_begin_anew_when_in_doubt() {
    for store in STORES {
        let mut book = Book::of(&some_events());
        let dir = book.dir.path().join("views");
        let open = |book: &Book| opened(&dir, book, Some(store));
        open(&book).close().expect("closes");
        book.commit(&[packaged("one more", 99, |_| ())]);
        let views = open(&book);
        let root = fold_into_memory(&book.reader(), 1 << 20).expect("folds").root;
        assert_eq!(views.root().1, root, "what was folded before and after the restart");
        views.close().expect("closes");
        drop(views);

        std::fs::write(dir.join("marker"), "broken").expect("written");
        let views = open(&book);
        assert_eq!(views.root().1, root);
        let options = Options { cache_bytes: 1 << 20, store: Some(store) };
        let refused = Views::open(&dir, book.reader(), &options).map(|_| ()).expect_err("is in use").to_string();
        assert!(refused.contains("is in use"), "{refused}");
        drop(views);

        // Rows of another ledger.
        let other = Book::of(&[packaged("stranger", 1, |_| ())]);
        let views = open(&other);
        assert_eq!(views.root().1, fold_into_memory(&other.reader(), 1 << 20).expect("folds").root);
        assert_eq!(views.visible(&TenantId::default()), 1);
    }
}

/// Whether a row of nobody's outlives that views are opened by a store: it does not where they are folded anew.
fn are_kept(dir: &Path, book: &Book, (before, after): (StoreKind, Option<StoreKind>), marker: &str) -> bool {
    opened(dir, book, Some(before)).close().expect("closes");
    let rows = |store: StoreKind| store.open(&dir.join("rows"), 1 << 20).expect("opens").0;
    let strange = rows(before);
    strange.insert(&[0, b'z'], b"").expect("inserted");
    strange.sync().expect("synced");
    drop(strange);
    std::fs::write(dir.join("marker"), marker).expect("written");
    let views = opened(dir, book, after);
    assert_eq!(views.root().1, fold_into_memory(&book.reader(), 1 << 20).expect("folds").root);
    views.close().expect("closes");
    drop(views);
    rows(after.unwrap_or(before)).get(&[0, b'z']).expect("read").is_some()
}

/// Closed well; ended under another kernel, as by a loss of power; failed; of the other store.
#[test]
fn each_store_is_trusted_as_far_as_it_can_be() {
    let book = Book::of(&some_events());
    for store in STORES {
        let dir = book.dir.path().join(format!("{store} alone"));
        let kept = |marker: &str, by| are_kept(&dir, &book, (store, by), &format!("{marker} {store}"));
        assert!(kept("clean", Some(store)) && kept("clean", None), "{store}");
        let of_another_kernel = are_kept(&dir, &book, (store, None), &format!("running {store} elsewhere"));
        assert_eq!(of_another_kernel, store == StoreKind::Fjall, "{store}");
        assert!(!kept("broken", Some(store)) && !kept("broken", None), "{store}");
        let other = if store == StoreKind::Sled { StoreKind::Fjall } else { StoreKind::Sled };
        assert!(!kept("clean", Some(other)), "{store}");
    }
}
