//! What one question may read: every kind of question ends at its budget, says so, and never answers from a part.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pedigraph_projector::answers::{Direction, Node};
use pedigraph_projector::store::{Budget, Meter, ROWS_PER_CHECK};
use pedigraph_projector::{Affecting, AsOf, Error, Found, ImpactQuestion, Moment, Scope, Views};
use pedigraph_proto::TenantId;
use pedigraph_proto::event::{
    ArtifactPublished, Component, ComponentsListed, FreezeChanged, ImageObserved, RunFinished, SbomAttached,
    ServiceDeployed, TagObserved,
};

use crate::book::{Book, Said, digest, packaged, said};
use crate::watched::Watched;

const COMMIT: &str = "0c5a9f3e7b1d2c4e6f8091a2b3c4d5e6f7081920";

/// Views over a counting store.
pub(crate) struct Counted {
    _book: Book,
    views: Views,
    store: Arc<Watched>,
}

impl Counted {
    pub(crate) fn of(events: &[Said]) -> Counted {
        let mut book = Book::new();
        events.chunks(1_000).for_each(|events| book.commit(events));
        let store = Arc::new(Watched::default());
        let views = Views::in_store(store.clone(), book.reader()).expect("views");
        assert!(views.wait_folded(book.reader().next_seq()), "{:?}", views.fault());
        let counted = Counted { _book: book, views, store };
        counted.take();
        counted
    }

    /// Rows that were read since the last time, whatever the meter says.
    fn take(&self) -> u64 {
        self.store.read.swap(0, Ordering::Relaxed) as u64
    }

    pub(crate) fn scope(&self, budget: Budget) -> (Scope, Arc<Meter>) {
        self.scope_at(Moment::default(), budget)
    }

    /// As of an entry.
    pub(crate) fn scope_as_of(&self, index: u64, budget: Budget) -> (Scope, Arc<Meter>) {
        self.scope_at(Moment { as_of: Some(AsOf::Index(index)), ..Moment::default() }, budget)
    }

    pub(crate) fn scope_at(&self, moment: Moment, budget: Budget) -> (Scope, Arc<Meter>) {
        let meter = Arc::new(Meter::new(budget));
        let scope = self.views.at(&TenantId::default(), moment).expect("a scope");
        (scope.within(meter.clone()), meter)
    }
}

fn deployed(id: &str, minute: i64, service: &str, with: impl FnOnce(&mut ServiceDeployed)) -> Said {
    let mut event = ServiceDeployed { environment: "ward".into(), service: service.into(), ..Default::default() };
    with(&mut event);
    said(id, minute, event)
}

fn published(name: &str, tag: &str, minute: i64) -> Said {
    let artifact_ref = format!("quay.example/clinic/pump:{tag}");
    let event = ArtifactPublished { artifact_ref, artifact_digest: digest(name), ..Default::default() };
    said(&format!("published {name} {minute}"), minute, event)
}

/// Versions of one artifact with SBOMs and a run each, deployed by digest and by tag, in a few environments.
fn clinic() -> Vec<Said> {
    let mut events = Vec::new();
    for n in 0..24_i64 {
        let name = format!("pump {n}");
        events.push(packaged(&name, 10 * n, |event| {
            event.commit = COMMIT.into();
            event.run = format!("night-{n}");
            event.artifact_ref = format!("quay.example/clinic/pump:1.{n}.0");
        }));
        events.push(published(&name, &format!("1.{n}.0"), 10 * n + 1));
        let run = RunFinished { run: format!("night-{n}"), outcome: 1, ..Default::default() };
        events.push(said(&format!("run {n}"), 10 * n + 2, run));
        events.push(sbom(&name, n));
        events.push(deployed(&format!("by digest {n}"), 10 * n + 4, "pump", |event| {
            event.artifact_digest = digest(&name);
            event.environment = format!("ward-{}", n % 4);
        }));
        events.push(deployed(&format!("by tag {n}"), 10 * n + 5, "alarm", |event| {
            event.artifact_ref = format!("quay.example/clinic/pump:1.{n}.0");
        }));
        let freeze = FreezeChanged { environment: "ward".into(), frozen: n % 2 == 0, ..Default::default() };
        events.push(said(&format!("freeze {n}"), 10 * n + 6, freeze));
    }
    events
}

pub(crate) fn sbom(name: &str, n: i64) -> Said {
    let component = |purl: String| Component { purl, name: "valve".into(), ..Component::default() };
    let components = vec![component(format!("pkg:npm/screen@2.{n}.0")), component("pkg:npm/valve@4.0.1".into())];
    let component_set = pedigraph_proto::canonical::component_set(components.iter()).to_string();
    let mut document = said(
        &format!("sbom {n}"),
        10 * n + 3,
        SbomAttached { artifact_digest: digest(name), component_set: component_set.clone(), ..Default::default() },
    );
    let listed = ComponentsListed { component_set, first: 0, components };
    document.facts.push(pedigraph_proto::wire::Fact::now(listed));
    document
}

type Ask = fn(&Scope) -> Result<String, Error>;

/// Every kind of question, with its answer as text.
fn questions() -> Vec<(&'static str, Ask)> {
    fn pump() -> String {
        digest("pump 12")
    }
    vec![
        ("environments", |scope| Ok(format!("{:?}", scope.environments()?.len()))),
        ("environment", |scope| Ok(format!("{:?}", scope.environment("ward", true)?))),
        ("changes", |scope| Ok(format!("{:?}", scope.changes("ward", None, 100)?))),
        ("first change", |scope| Ok(format!("{:?}", scope.first_change("ward-1")?))),
        ("last known", |scope| Ok(format!("{:?}", scope.last_known("ward", "alarm", 3)?))),
        ("artifact", |scope| Ok(format!("{:?}", scope.artifact(&pump())?))),
        ("lineage", |scope| Ok(format!("{:?}", scope.lineage(&pump(), 10, Direction::Both)?))),
        ("trace", |scope| Ok(format!("{:?}", scope.trace("ward/alarm")?))),
        ("trace of a moment", |scope| Ok(format!("{:?}", scope.trace("ward~2/alarm")?))),
        ("digest", |scope| Ok(format!("{:?}", scope.artifact_digest("pump:1.7.0")?))),
        ("commit", |scope| Ok(format!("{:?}", scope.built_from_commit(COMMIT, None, 100)?))),
        ("run", |scope| Ok(format!("{:?}", scope.built_by_run("night-7", None, 100)?))),
        ("resolve", |scope| Ok(format!("{:?}", scope.resolve("alarm")?))),
        ("components", |scope| Ok(format!("{:?}", scope.components(&pump(), None, 100)?))),
        ("intake", |scope| Ok(format!("{:?}", scope.intake()?))),
        ("entries", |scope| Ok(format!("{:?}", scope.entries_by_subject(&pump(), 0..u64::MAX, false, 100)?))),
        ("impact", |scope| {
            let purl = "pkg:npm/valve".to_owned();
            let of = Affecting::Package { purl, versions: None };
            let question = ImpactQuestion { of, environment: None, limit: 100, after: None, progress: true };
            Ok(format!("{:?}", scope.impact(&question)?))
        }),
    ]
}

#[test]
fn every_question_ends_at_its_budget_and_never_answers_from_a_part() {
    let counted = Counted::of(&clinic());
    for (name, ask) in questions() {
        counted.take();
        let (scope, meter) = counted.scope(Budget::NONE);
        let whole = ask(&scope).expect("answered");
        let needed = meter.rows();
        assert!(needed > 0 && counted.take() <= needed, "{name}: what is read is counted");
        for rows_max in (0..needed).step_by(usize::try_from(needed / 23).expect("few").max(1)) {
            let (scope, _) = counted.scope(Budget { rows_max, ..Budget::NONE });
            let answer = ask(&scope);
            let read = counted.take();
            // What is cut instead says so.
            let says = |text: &String| {
                let goes_on = name == "changes" && text.contains("next: Some");
                text.contains("by: \"cost") || text.contains("at_least: [\"") || goes_on
            };
            let cut = answer.as_ref().is_ok_and(says);
            let ended = cut || matches!(answer, Err(Error::TooExpensive { .. }));
            assert!(ended, "{name} with {rows_max} of {needed} rows: {answer:?}");
            assert!(read <= rows_max + ROWS_PER_CHECK as u64 + 1, "{name} read {read} with {rows_max}");
        }
        // A graph is cut when half is used, and a page of impact or of changes ends.
        let rows_max = if ["lineage", "impact", "changes"].contains(&name) { 2 * needed } else { needed };
        let (scope, _) = counted.scope(Budget { rows_max, ..Budget::NONE });
        assert_eq!(ask(&scope).expect("enough"), whole, "{name}");
        let (scope, meter) = counted.scope(Budget::NONE);
        meter.stop();
        assert!(matches!(ask(&scope), Err(Error::Stopped)), "{name} goes on");
    }
}

#[test]
fn a_page_of_environments_ends_early_when_much_is_read_and_the_pages_are_all_of_them() {
    let long = "n".repeat(3_000);
    let names: Vec<String> =
        (0..40).map(|n| if n % 2 == 0 { format!("site-{n:02}") } else { format!("{long}{n:02}") }).collect();
    let events: Vec<Said> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            deployed(&format!("{n}"), 1, "door", |event| {
                event.environment.clone_from(name);
                event.artifact_ref = "r.example/door:1".into();
            })
        })
        .collect();
    let counted = Counted::of(&events);
    let all: Vec<String> =
        counted.scope(Budget::NONE).0.environments().expect("all").into_iter().map(|row| row.environment).collect();
    assert_eq!(all.len(), names.len());
    for (rows_max, limit) in [(u64::MAX, 1), (u64::MAX, 7), (u64::MAX, 40), (150, 40)] {
        let (mut seen, mut after, mut pages) = (Vec::new(), None::<Vec<u8>>, 0);
        loop {
            let (scope, _) = counted.scope(Budget { rows_max, ..Budget::NONE });
            let page = scope.environments_page(after.as_deref(), limit).expect("a page");
            assert!(!page.rows.is_empty() && page.rows.len() <= limit);
            seen.extend(page.rows.into_iter().map(|row| row.environment));
            pages += 1;
            assert!(page.next.as_ref().is_none_or(|key| key.len() < 1_100), "a key fits into an address");
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all, "{rows_max} {limit}");
        assert_eq!(pages > 1, limit < 40 || rows_max < 1_000, "{rows_max} {limit}: {pages} pages");
    }
    let (scope, _) = counted.scope(Budget::NONE);
    for forged in [&b"\xfe"[..], b"site\xff", b"site\xff\0\0\0\0\0\0\0\0\0"] {
        assert!(matches!(scope.environments_page(Some(forged), 5), Err(Error::Question(_))), "{forged:?}");
    }
    assert!(
        scope.environments_page(Some(b"site\xff\xff\xff\xff\xff\xff\xff\xff\xff"), 5).expect("past").rows.is_empty()
    );
}

/// One tag of one repository that was observed again and again at one moment.
fn observed_at_once(times: usize, of: impl Fn(usize) -> &'static str) -> Vec<Said> {
    let mut events = vec![packaged("left", 0, |_| ()), packaged("right", 0, |_| ())];
    events.extend((0..times).map(|n| {
        let event = TagObserved { repository: "r.example/hub".into(), tag: "edge".into(), digest: digest(of(n)) };
        said(&format!("observed {n}"), 5, event)
    }));
    events
}

#[test]
fn a_tag_with_thousands_of_facts_at_one_moment_costs_what_it_has() {
    let last_is_left = |times: usize| move |n: usize| if n + 2 == times { "right" } else { "left" };
    let read = |times: usize| {
        let counted = Counted::of(&observed_at_once(times, last_is_left(times)));
        let (scope, meter) = counted.scope(Budget::NONE);
        let artifact = scope.artifact(&digest("left")).expect("answered").expect("known");
        let open: Vec<bool> = artifact.tags.iter().map(|tag| tag.until.is_none()).collect();
        assert_eq!(open.iter().filter(|open| **open).count(), 1, "it points here: {open:?}");
        meter.rows()
    };
    let (one, two, four) = (read(400), read(800), read(1_600));
    assert!(two < 3 * one && four < 3 * two, "{one} {two} {four}");
}

#[test]
fn a_service_is_found_without_evaluating_what_runs_everywhere() {
    let world = |history: i64| {
        let deploy = |n: i64| {
            deployed(&format!("{n}"), n, "lamp", |event| {
                event.environment = format!("hall-{}", n % 5);
                event.artifact_ref = format!("r.example/lamp:{n}");
            })
        };
        Counted::of(&(0..history).map(deploy).collect::<Vec<_>>())
    };
    let read = |history: i64| {
        let counted = world(history);
        let (scope, meter) = counted.scope(Budget::NONE);
        let found = scope.resolve("lamp").expect("answered").candidates;
        assert_eq!(found.iter().filter(|found| found.kind == "service").count(), 5);
        assert!(matches!(scope.trace("nowhere/lamp"), Ok(Found::Nothing)));
        meter.rows()
    };
    let (short, long) = (read(50), read(400));
    assert!(long < 2 * short, "{short} {long}");
}

#[test]
fn a_graph_that_costs_too_much_is_cut_and_says_so() {
    let mut events = vec![packaged("base", 0, |_| ())];
    for repository in 0..12 {
        for version in 0..30 {
            let name = format!("{repository}/{version}");
            let mut event = ArtifactPublished { artifact_digest: digest(&name), ..Default::default() };
            event.artifact_ref = format!("r.example/app-{repository}:1.{version}.0");
            events.push(said(&format!("published {name}"), version, event));
            let mut image = ImageObserved { digest: digest(&name), digest_kind: 1, ..Default::default() };
            image.base_digest = digest("base");
            events.push(said(&format!("observed {name}"), version, image));
        }
    }
    let counted = Counted::of(&events);
    let ask = |rows_max: u64| {
        let (scope, meter) = counted.scope(Budget { rows_max, ..Budget::NONE });
        let lineage = scope.lineage(&digest("base"), 10, Direction::Both);
        (lineage.map(|lineage| lineage.expect("known")), meter.rows())
    };
    let (whole, needed) = ask(u64::MAX);
    let whole = whole.expect("answered");
    assert!(whole.truncated.as_ref().is_none_or(|cut| !cut.by.contains("cost")));
    let (mut left_out, mut not_followed) = (false, false);
    for hundredths in 1..200 {
        let rows_max = needed * hundredths / 100;
        let (part, read) = ask(rows_max);
        let Ok(part) = part else { continue };
        let cut = part.truncated.expect("cut");
        assert!(cut.by.contains("cost") || part.nodes == whole.nodes, "{cut:?}");
        let is_right = |node: &Node| {
            let plain =
                |whole: &Node| Node { badges: None, verdict_counts: None, replay_hash: None, ..whole.clone() } == *node;
            whole.nodes.contains(node) || whole.nodes.iter().any(plain)
        };
        assert!(read <= rows_max && part.nodes.iter().all(is_right), "what is there is right");
        left_out |= part.nodes.len() < whole.nodes.len() && cut.nodes > 0;
        not_followed |= part.nodes.len() > 1 && cut.not_followed > 0;
    }
    assert!(left_out && not_followed, "{left_out} {not_followed}");
}
