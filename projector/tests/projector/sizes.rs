//! What a message costs in the views: rows, and bytes of their keys and values.

use std::sync::Arc;

use pedigraph_projector::store::{MemStore, Store};
use pedigraph_projector::{AsOf, Moment, Views, fold_into};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{Component, ComponentsListed, SbomAttached};
use pedigraph_proto::wire::Fact;

use crate::book::{Book, Said, digest, packaged};

/// Rows of tenants and their bytes, progress left out.
fn rows(book: &Book) -> (usize, usize) {
    let store = Arc::new(MemStore::default());
    fold_into(store.clone(), &book.reader(), 1 << 20).expect("folds");
    let rows = store.scan(&[1], &[0xff], false, usize::MAX).expect("in memory");
    (rows.len(), rows.iter().map(|(key, value)| key.len() + value.len()).sum())
}

fn sbom(artifact: &str, serial: &str) -> Said {
    let component = |n: u32| {
        let (purl, name) = (format!("pkg:pypi/kiln-{n}@3.{n}"), format!("kiln-{n}"));
        Component { purl, name, version: format!("3.{n}"), ..Default::default() }
    };
    let set = digest("what the kiln is made of");
    let attached = SbomAttached {
        artifact_digest: digest(artifact),
        sbom_digest: digest(serial),
        format: "spdx".into(),
        spec_version: "2.3".into(),
        serial_number: format!("https://sbom.example/{serial}"),
        tool: "trivy".into(),
        component_set: set.clone(),
        component_count: 40,
        ..Default::default()
    };
    let listed = ComponentsListed { component_set: set, first: 0, components: (0..40).map(component).collect() };
    Said { id: format!("sbom {serial}"), minute: 5, facts: vec![Fact::now(attached), Fact::now(listed)] }
}

#[test]
fn an_sbom_sent_again_costs_a_few_short_rows() {
    const AGAIN: usize = 64;
    let mut book = Book::of(&[packaged("kiln", 1, |event| event.artifact_ref = "r.example/kiln:3".into())]);
    book.commit(&[sbom("kiln", "first")]);
    let (rows_before, bytes_before) = rows(&book);
    let again: Vec<Said> = (0..AGAIN).map(|n| sbom("kiln", &format!("again {n}"))).collect();
    book.commit(&again);
    let (rows_after, bytes_after) = rows(&book);
    let (rows_each, bytes_each) = ((rows_after - rows_before) / AGAIN, (bytes_after - bytes_before) / AGAIN);
    assert!(rows_each <= 7 && bytes_each <= 750, "{rows_each} rows of {bytes_each} bytes");
}

#[test]
fn duplicates_have_no_row_and_are_counted_with_the_entry_that_comes_next() {
    let built = |name: &str| packaged(name, 1, |event| event.artifact_ref = format!("r.example/{name}:1"));
    let mut book = Book::of(&[built("anvil")]);
    let before = rows(&book);
    (1..=20).for_each(|n| book.duplicates(if n % 2 == 0 { "http" } else { "pedigraph.ci" }, n));
    assert_eq!(rows(&book), before);
    let intake = |views: &Views, as_of: Option<u64>| {
        let moment = Moment { at: None, as_of: as_of.map(AsOf::Index) };
        let intake = views.at(&TenantId::default(), moment).expect("a scope").intake().expect("read");
        let of = |name: &str| intake.by_source.get(name).copied().unwrap_or(0);
        (intake.by_status.get("duplicate").copied().unwrap_or(0), of("http"), of("pedigraph.ci"), intake.total)
    };
    let views = book.views();
    assert_eq!(intake(&views, None), (210, 110 + 1, 100, 211));
    let root = views.root().1;
    drop(views);
    book.commit(&[built("tongs")]);
    let views = book.views();
    assert_ne!(views.root().1, root);
    assert_eq!(intake(&views, None), (210, 110 + 2, 100, 212));
    assert_eq!(intake(&views, Some(0)), (0, 1, 0, 1), "as of before the entry that they are counted with");
}

/// More counters than one row holds, which appear one after the other.
#[test]
fn counters_of_many_sources_are_right_at_any_time() {
    let mut book = Book::new();
    for n in 0..70_u64 {
        book.duplicates(&format!("topic-{n}"), n + 1);
        book.commit(&[packaged(&format!("part {n}"), 1, |_| ())]);
    }
    let views = book.views();
    for last in [0, 1, 30, 33, 69_u64] {
        let moment = Moment { at: None, as_of: Some(AsOf::Index(last)) };
        let intake = views.at(&TenantId::default(), moment).expect("a scope").intake().expect("read");
        let duplicates: u64 = (0..=last).map(|n| n + 1).sum();
        assert_eq!(
            (intake.total, intake.by_source.len()),
            (duplicates + last + 1, usize::try_from(last).expect("few") + 2)
        );
        assert_eq!(intake.by_source.get(&format!("topic-{last}")), Some(&(last + 1)));
    }
}
