//! Real builds: the Docker official images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pedigraph_projector::answers::Direction;
use pedigraph_proto::event::{DigestKind, ImageObserved, Material, PlatformManifest};
use serde_json::Value;

use crate::book::{Book, Said, packaged, said};

/// The corpora beside the repository, or where `PEDIGRAPH_CORPORA` says; a machine without them skips, CI does not.
fn builds() -> Option<BTreeMap<String, Value>> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let corpora = std::env::var_os("PEDIGRAPH_CORPORA").map_or(default, PathBuf::from);
    match std::fs::read(corpora.join("docker-official-images/builds.json")) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("JSON")),
        Err(_) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => None,
        Err(error) => panic!("corpora: {error}; set PEDIGRAPH_CORPORA"),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn platform(value: &Value) -> String {
    let parts = ["/os", "/architecture", "/variant"].map(|part| text(value, part));
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// What a registry shows of an image: its index where there is one, and the platform's manifest.
fn observed(resolved: &Value, minute: i64) -> Vec<Said> {
    let (manifest, index) = (text(resolved, "/manifest/desc/digest"), text(resolved, "/index/desc/digest"));
    let platform = platform(&resolved["manifest"]["desc"]["platform"]);
    let image = ImageObserved {
        digest: manifest.into(),
        digest_kind: DigestKind::Manifest.into(),
        artifact_ref: text(resolved, "/manifest/ref").into(),
        platform: platform.clone(),
        commit: text(resolved, "/manifest/desc/annotations/org.opencontainers.image.revision").into(),
        ..Default::default()
    };
    let mut events = vec![said(&format!("image {manifest}"), minute, image)];
    if !index.is_empty() && index != manifest {
        let listed = PlatformManifest { digest: manifest.into(), platform, artifact_type: String::new() };
        let event = ImageObserved {
            digest: index.into(),
            digest_kind: DigestKind::Index.into(),
            artifact_ref: text(resolved, "/index/ref").into(),
            manifests: vec![listed],
            ..Default::default()
        };
        events.push(said(&format!("index {index} {manifest}"), minute, event));
    }
    events
}

/// A build: what was made, from which commit, on which bases.
fn built(id: &str, build: &Value, minute: i64) -> Option<Said> {
    let digest = text(build, "/build/resolved/manifest/desc/digest");
    let bases = build["build"]["parents"].as_object()?;
    let material = |(name, digest): (&String, &Value)| Material {
        uri: format!("pkg:docker/{name}"),
        digest: digest.as_str().unwrap_or_default().to_owned(),
        tool: false,
    };
    let materials = bases.iter().map(material).collect();
    let mut event = packaged(digest, minute, |event| {
        event.artifact_digest = digest.into();
        event.artifact_ref = text(build, "/build/img").into();
        event.commit = text(build, "/source/entry/GitCommit").into();
        event.run = id.into();
        event.materials = materials;
    });
    event.id = format!("build {id}");
    (!digest.is_empty()).then_some(event)
}

#[test]
fn official_images_find_their_bases() {
    let Some(builds) = builds() else {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: no corpora (set PEDIGRAPH_CORPORA)");
        return;
    };
    let (mut events, mut wanted, mut unresolved) = (Vec::new(), BTreeSet::new(), Vec::new());
    let (mut made, mut of_several) = (BTreeSet::new(), BTreeSet::new());
    for (minute, (id, build)) in (1_i64..).zip(&builds) {
        let Some(event) = built(id, build, minute) else {
            unresolved.push(id);
            continue;
        };
        let digest = text(build, "/build/resolved/manifest/desc/digest");
        made.insert(digest.to_owned());
        let bases = build["build"]["parents"].as_object();
        for base in bases.into_iter().flatten() {
            wanted.insert((base.1.as_str().unwrap_or_default().to_owned(), digest.to_owned()));
        }
        if bases.is_some_and(|bases| bases.len() > 1) {
            of_several.insert(digest.to_owned());
        }
        events.push(event);
        events.extend(observed(&build["build"]["resolved"], minute));
        // Half of the bases are described too, the others are only named.
        for (_, base) in build["build"]["resolvedParents"].as_object().into_iter().flatten().filter(|_| minute % 2 == 0)
        {
            events.extend(observed(base, minute - 1));
        }
    }
    events.sort_by(|a, b| a.id.cmp(&b.id));
    events.dedup_by(|a, b| a.id == b.id);
    assert_eq!((made.len(), wanted.len(), unresolved.len()), (315, 327, 17));

    let mut book = Book::new();
    events.chunks(100).for_each(|events| book.commit(events));
    let scope = book.scope();
    let mut found = BTreeSet::new();
    for digest in &made {
        let artifact = scope.artifact(digest).expect("read").expect("an artifact");
        assert_eq!(artifact.node.kind, "container_image");
        assert!(artifact.commit.is_some() && artifact.run.is_some(), "{digest}");
        let lineage = scope.lineage(digest, 1, Direction::Up).expect("read").expect("known");
        let bases = lineage.edges.iter().filter(|edge| edge.relationship == "base" && edge.to == *digest);
        found.extend(bases.map(|edge| (edge.from.clone(), edge.to.clone())));
    }
    // Of several images that went into one build nothing here says which is the base (SPEC §3.1): none is made up.
    let unsaid: BTreeSet<_> = wanted.iter().filter(|(_, derived)| of_several.contains(derived)).cloned().collect();
    assert_eq!((unsaid.len(), of_several.len()), (24, 12));
    assert_eq!(wanted.difference(&found).cloned().collect::<BTreeSet<_>>(), unsaid);
    for (base, derived) in wanted.difference(&unsaid).take(50) {
        let below = scope.lineage(base, 1, Direction::Down).expect("read").expect("a base is an artifact");
        assert!(below.edges.iter().any(|edge| edge.from == *base && edge.to == *derived), "{base}");
    }
}
