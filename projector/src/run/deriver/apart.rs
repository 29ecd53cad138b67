//! What the answer about an artifact shows of verdicts, whose view stands apart and may be behind it.

use std::sync::Arc;

use pedigraph_proto::TenantId;
use pedigraph_proto::event::{VexIssued, VexStatement, VexStatus};
use pedigraph_proto::wire::Fact;

use crate::ask::deltas::{LOOKS_HERE_MAX, VERDICTS_HERE_MAX};
use crate::ask::scope::{Moment, Scope};
use crate::run::Views;
use crate::run::test_log::Log;
use crate::store::MemStore;

const DIGEST: &str = "sha256:abababababababababababababababababababababababababababababababab";

/// One document each, of statements on some vulnerabilities.
fn said(documents: &[(VexStatus, std::ops::Range<usize>)]) -> Views {
    let mut log = Log::new();
    for (n, (status, names)) in documents.iter().enumerate() {
        let statement = |name: usize| VexStatement {
            vulnerability: format!("CVE-2026-{name:04}"),
            product: DIGEST.to_owned(),
            product_digests: vec![DIGEST.to_owned()],
            status: (*status).into(),
            ..VexStatement::default()
        };
        let event = VexIssued {
            issuer: "vendor".into(),
            document_id: "one".into(),
            document_version: n.to_string(),
            statements: names.clone().map(statement).collect(),
            ..VexIssued::default()
        };
        log.commit(vec![("default", vec![vec![Fact::now(event)]])], &[]);
    }
    let views = Views::in_store(Arc::new(MemStore::default()), log.reader()).expect("views");
    assert!(views.wait_folded(log.reader().next_seq()), "{:?}", views.fault());
    views
}

#[test]
fn the_first_verdicts_are_those_that_are_kept_and_say_how_far_they_go() {
    let views = said(&[(VexStatus::Affected, 0..3), (VexStatus::Fixed, 1..3)]);
    let mut scope = views.at(&TenantId::default(), Moment::default()).expect("a scope");
    let here = |scope: &Scope| {
        let artifact = scope.artifact(DIGEST).expect("read").expect("known");
        let verdicts = artifact.verdicts.into_iter().map(|verdict| (verdict.cve, verdict.verdict_status));
        (verdicts.collect::<Vec<_>>(), artifact.verdicts_as_of, artifact.truncated)
    };
    let listed = |names: &[u32], status: &str| {
        names.iter().map(|n| (format!("CVE-2026-{n:04}"), status.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(here(&scope), (listed(&[1, 2], "fixed"), None, vec![]), "a newer version withdraws the first");
    scope.deltas_bound = 1;
    assert_eq!(here(&scope), (listed(&[0, 1, 2], "affected"), Some(0), vec![]), "as of the first entry");
    let statements = scope.artifact(DIGEST).expect("read").expect("known").statements;
    assert_eq!(statements.len(), 5, "of both versions");
}

#[test]
fn verdicts_here_end_at_their_limits() {
    let of = |documents: &[(VexStatus, std::ops::Range<usize>)]| {
        let views = said(documents);
        let scope = views.at(&TenantId::default(), Moment::default()).expect("a scope");
        let artifact = scope.artifact(DIGEST).expect("read").expect("known");
        (artifact.verdicts.len(), artifact.truncated.contains(&"verdicts".to_owned()))
    };
    assert_eq!(of(&[(VexStatus::Affected, 0..VERDICTS_HERE_MAX)]), (VERDICTS_HERE_MAX, false));
    assert_eq!(of(&[(VexStatus::Affected, 0..VERDICTS_HERE_MAX + 1)]), (VERDICTS_HERE_MAX, true));
    let gone = LOOKS_HERE_MAX + 1;
    assert_eq!(of(&[(VexStatus::Affected, 0..gone), (VexStatus::Fixed, gone..gone + 1)]), (0, true));
}
