//! What an artifact is called and what it is: by every name, at both clocks, however often it is named.

use pedigraph_projector::answers::{Artifact, Direction};
use pedigraph_projector::{AsOf, Moment, Views};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{DigestKind, ImageObserved, ServiceDeployed};

use crate::book::{Book, Said, at, digest, packaged, said};
use crate::lineage::{named, published};

fn deployed(name: &str, minute: i64, reference: &str) -> Said {
    let event = ServiceDeployed {
        service: "lamp".into(),
        environment: "attic".into(),
        artifact_ref: reference.into(),
        artifact_digest: digest(name),
        ..Default::default()
    };
    said(&format!("deployed {name} {minute}"), minute, event)
}

fn artifact(views: &Views, name: &str, minute: Option<i64>, as_of: Option<u64>) -> Option<Artifact> {
    let moment = Moment { at: minute.map(at), as_of: as_of.map(AsOf::Index) };
    let scope = views.at(&TenantId::default(), moment).expect("a scope");
    scope.artifact(&digest(name)).expect("read")
}

#[test]
fn what_a_version_is_does_not_change_with_the_time_asked_about_and_what_came_later_is_hidden() {
    let platform = ImageObserved {
        digest: digest("b"),
        digest_kind: DigestKind::Manifest.into(),
        platform: "linux/riscv64".into(),
        ..Default::default()
    };
    let book = Book::of(&[
        published("a", 10, "r.io/lamp:1.0.0"),
        published("c", 30, "r.io/lamp:2.0.0"),
        deployed("d", 5, ""),
        packaged("d", 40, |event| event.artifact_ref = "r.io/lamp:2.1.0".into()),
        published("e", 20, "r.io/lamp:1.5.0"),
        published("a", 50, "r.io/lamp:1.8.0"),
        published("b", 12, "r.io/lamp:edge"),
        said("platform", 60, platform),
    ]);
    let views = book.views();
    let lineage = |start: &str, minute: i64| {
        let scope = views.at(&TenantId::default(), Moment { at: Some(at(minute)), as_of: None }).expect("a scope");
        let Some(lineage) = scope.lineage(&digest(start), 10, Direction::Both).expect("read") else {
            return "unknown".to_owned();
        };
        let nodes = lineage.nodes.iter().map(|node| format!("{}#{}", node.digest, node.sequence_number));
        let edges = lineage.edges.iter().map(|edge| format!("{}>{}", edge.from, edge.to));
        named(&["a", "b", "c", "d", "e"], &nodes.chain(edges).collect::<Vec<_>>().join(" "))
    };
    // 1.8.0 is the version of `a` whenever one asks, so it is the parent of 2.0.0, and not 1.5.0.
    assert_eq!(lineage("a", 70), "d#4 c#3 e#2 a#1 c>d a>c a>e");
    assert_eq!(lineage("a", 39), "c#3 e#2 a#1 a>c a>e");
    assert_eq!(lineage("a", 29), "e#2 a#1 a>e");
    assert_eq!(lineage("a", 10), "a#1");
    assert_eq!(lineage("a", 9), "unknown");
    assert_eq!(lineage("d", 39), "d#4", "it was deployed before it was made: the node is there, the edge is not yet");
    assert_eq!(lineage("d", 4), "unknown");
    let reference = |name: &str, minute: i64| artifact(&views, name, Some(minute), None).expect("known").node;
    assert_eq!(reference("a", 49).artifact_ref, "r.io/lamp:1.0.0");
    assert_eq!(reference("a", 50).artifact_ref, "r.io/lamp:1.8.0");
    assert_eq!(reference("d", 5).created_at, at(40));
    assert_eq!(reference("b", 12).platform.as_deref(), Some("linux/riscv64"));
    let tags = |minute: i64| artifact(&views, "a", Some(minute), None).expect("known").tags.len();
    assert_eq!((tags(49), tags(50)), (1, 2));
    let known = |as_of: u64| artifact(&views, "b", None, Some(as_of)).map(|artifact| artifact.node.platform);
    assert_eq!((known(5), known(6), known(7)), (None, Some(None), Some(Some("linux/riscv64".to_owned()))));
}
