//! Evidence packs: what is made is found good, and nothing that was changed is, whatever was changed.
//!
//! `PEDIGRAPH_TEST_MUTATIONS` sets how many changed packs are read, `PEDIGRAPH_TEST_SEED` repeats a run.

use std::io::{Cursor, Read as _, Write as _};

use fastrand::Rng;
use pedigraph_ledger::{LogId, Trust};
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::event::{ArtifactPublished, ServiceDeployed};
use pedigraph_query_api::pack::read::{Check, Error, Verified, verify};
use pedigraph_query_api::{Config, router};
use serde_json::{Value, json};

use crate::deltas::world as two_versions;
use crate::world::{Client, World, sent};

/// Changed packs, unless the environment says otherwise; with `./tests/run --long` a hundred times as many.
const MUTATIONS: u64 = 1_500;
/// Memory that reading a small pack may take, bytes: buffers, inflation, tables of files.
const MEMORY_MAX: u64 = 4 << 20;

type Files = Vec<(String, Vec<u8>)>;

pub(crate) fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn world() -> World {
    let world = World::new();
    let published = ArtifactPublished {
        artifact_digest: digest("1"),
        artifact_ref: "example.org/cart:1".into(),
        ..Default::default()
    };
    let deployed = ServiceDeployed {
        environment: "prod".into(),
        service: "cart".into(),
        artifact_digest: digest("1"),
        ..Default::default()
    };
    world.append(&[sent("2026-01-01T00:00:00Z", published), sent("2026-01-02T00:00:00Z", deployed)]);
    world.publish_checkpoint();
    world
}

pub(crate) fn config(world: &World) -> Config {
    let mut config = world.config();
    config.signer = Some(world.views.ledger().signer(None).expect("the ledger's key"));
    pedigraph_query_api::pack::spool::prepare(&config.packs_dir).expect("a directory");
    config
}

async fn exported(client: &Client, question: Value) -> Vec<u8> {
    let answer = client.post("/api/v1/lineage/export", &[], question.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let pack = client.get(answer.json()["downloadUrl"].as_str().expect("a path")).await;
    assert_eq!(answer.json()["bundleDigest"], format!("sha256:{}", hex::encode(sha256(&pack.bytes))));
    pack.bytes.to_vec()
}

fn check(world: &World, unsigned: bool) -> Check<'static> {
    let vkey = world.views.ledger().vkey(&LogId::default_log());
    Check { trust: Trust { vkey: Some(vkey), ..Trust::default() }, older: None, unsigned }
}

fn unzip(pack: &[u8]) -> Files {
    let mut archive = zip::ZipArchive::new(Cursor::new(pack)).expect("a zip");
    (0..archive.len())
        .map(|number| {
            let mut file = archive.by_index(number).expect("a file");
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("unpacked");
            (file.name().expect("a name").into_owned(), bytes)
        })
        .collect()
}

fn rezip(files: &Files) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(name.as_str(), zip::write::SimpleFileOptions::default()).expect("started");
        writer.write_all(bytes).expect("written");
    }
    writer.finish().expect("finished").into_inner()
}

/// The manifest says what a changed file has: now only what is above the digests can find it.
fn recompute(files: &mut Files, name: &str) {
    let bytes = files.iter().find(|(other, _)| other == name).expect("the file").1.clone();
    let (_, manifest) = files.iter_mut().find(|(name, _)| name == "manifest.json").expect("a manifest");
    let mut value: Value = serde_json::from_slice(manifest).expect("JSON");
    for row in value["files"].as_array_mut().expect("files").iter_mut().filter(|row| row["name"] == name) {
        row["sha256"] = hex::encode(sha256(&bytes)).into();
        row["size"] = bytes.len().into();
    }
    *manifest = serde_json::to_vec(&value).expect("JSON");
}

#[tokio::test]
async fn what_is_made_is_found_good_and_counted() {
    let world = world();
    let client = Client(router(config(&world)));
    let pack = exported(&client, json!({"artifactDigests": [digest("1")]})).await;
    let verified = verify(Cursor::new(&pack), &check(&world, false)).expect("a good pack");
    assert_eq!((verified.entries, verified.documents, verified.size), (2, 2, 2));
    assert_eq!(verified.unchecked, ["cosignatures of witnesses: no --policy was given"]);
    assert_eq!(pack, exported(&client, json!({"artifactDigests": ["example.org/cart:1", digest("1")]})).await);
    let metrics = client.get("/metrics").await.text();
    assert!(metrics.contains("sbom_lineage_export_size_bytes_count 2"), "{metrics}");
}

#[tokio::test]
async fn what_would_be_too_large_is_refused_before_a_file_is_made() {
    let world = world();
    for (change, of) in [
        ((|config: &mut Config| config.limits.export.artifacts_max = 0) as fn(&mut Config), "artifacts"),
        (|config| config.limits.export.entries_max = 1, "entries"),
        (|config| config.limits.export.bytes_max = 5_000, "bytes"),
    ] {
        let mut config = config(&world);
        change(&mut config);
        let packs_dir = config.packs_dir.clone();
        let client = Client(router(config));
        let question = json!({"artifactDigests": [digest("1")]}).to_string();
        let answer = client.post("/api/v1/lineage/export", &[], question).await;
        assert_eq!(answer.problem(), (413, "LINEAGE_EXPORT_TOO_LARGE".into()));
        assert_eq!(answer.json()["of"], of);
        assert_eq!(std::fs::read_dir(packs_dir).expect("a directory").count(), 0);
    }
}

#[tokio::test]
async fn nothing_is_exported_before_a_checkpoint_and_nothing_signed_without_a_key() {
    let world = World::new();
    let ask = async |client: &Client| {
        let question = json!({"artifactDigests": [digest("1")]}).to_string();
        client.post("/api/v1/lineage/export", &[], question).await.problem()
    };
    assert_eq!(ask(&Client(router(config(&world)))).await, (503, "CHECKPOINT_PENDING".into()));
    assert_eq!(ask(&world.client()).await, (503, "SIGNING_UNAVAILABLE".into()));
}

/// Services of an environment, one of them deployed again later.
fn fleet(services: usize) -> World {
    let world = World::new();
    let deployed = |n: usize, day: &str| {
        let service = format!("s{n}");
        crate::world::deployed(&format!("2026-01-{day}T00:00:{n:02}Z"), "prod", &service, day)
    };
    let mut events: Vec<_> = (0..services).map(|n| deployed(n, "01")).collect();
    events.push(deployed(0, "02"));
    world.append(&events);
    world.publish_checkpoint();
    world
}

#[tokio::test]
async fn what_runs_in_an_environment_is_proved_by_its_pack() {
    let world = fleet(5);
    let client = Client(router(config(&world)));
    let pack = exported(&client, json!({"environment": {"name": "prod"}})).await;
    assert_eq!(pack, exported(&client, json!({"environment": {"name": "prod"}})).await);
    let files = unzip(&pack);
    let answer = json_of(&files, "answers/environment.json");
    let mut now = client.get("/api/v1/environments/prod").await.json();
    now["asOf"] = 5.into();
    assert_eq!(answer, now);
    let entries: Vec<&str> = files.iter().filter_map(|(name, _)| name.strip_prefix("entries/")).collect();
    assert_eq!(entries, ["1", "2", "3", "4", "5"], "the first deployment of s0 proves nothing that is shown");
    let said = verify(Cursor::new(&pack), &check(&world, false)).expect("a good pack");
    let runs = "what ran of 5 services of prod names only entries that are in the pack";
    assert!(said.checks.iter().any(|check| check == runs), "{:?}", said.checks);
    assert_eq!((said.entries, said.documents, said.artifacts.len()), (5, 5, 0));
    for moment in [json!({"name": "prod", "at": "2026-01-01T12:00:00Z"}), json!({"name": "prod", "asOf": 4})] {
        let files = unzip(&exported(&client, json!({"environment": moment})).await);
        let answer = json_of(&files, "answers/environment.json");
        assert_eq!(answer["services"][0]["running"][0]["proof"]["index"], 0, "{moment}: {answer}");
    }
    let both = exported(&client, json!({"environment": {"name": "prod"}, "artifactDigests": [], "sign": false})).await;
    assert!(verify(Cursor::new(&both), &check(&world, true)).is_ok());
    for (question, problem) in [
        (json!({"environment": {"name": "nowhere"}}), (404, "ENVIRONMENT_NOT_FOUND".to_owned())),
        (json!({"environment": {"name": "prod", "at": "soon"}}), (400, "BAD_REQUEST".to_owned())),
        (json!({"environment": {"name": "prod", "pageToken": "x"}}), (400, "BAD_REQUEST".to_owned())),
        (json!({}), (400, "BAD_REQUEST".to_owned())),
    ] {
        let answer = client.post("/api/v1/lineage/export", &[], question.to_string()).await;
        assert_eq!(answer.problem().0, problem.0, "{question}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_pack_of_an_environment_that_is_cut_says_what_it_leaves_out_and_where_it_goes_on() {
    let world = fleet(7);
    let mut config = config(&world);
    config.limits.export.entries_max = 3;
    let client = Client(router(config));
    let (mut asked, mut services, mut left) = (json!({"name": "prod", "asOf": 7}), Vec::new(), Vec::new());
    loop {
        let pack = exported(&client, json!({"environment": asked})).await;
        let answer = json_of(&unzip(&pack), "answers/environment.json");
        let said = verify(Cursor::new(&pack), &check(&world, false)).expect("a good pack");
        let shown = answer["services"].as_array().expect("a list");
        services.extend(shown.iter().map(|service| service["service"].as_str().expect("a name").to_owned()));
        let told = said.unchecked.iter().any(|text| text.contains("which the pack leaves out"));
        assert_eq!(told, answer.get("nextPageToken").is_some(), "{:?}", said.unchecked);
        let Some(token) = answer["nextPageToken"].as_str() else { break };
        left.push(answer["servicesLeftOut"].as_u64().expect("a count"));
        asked["pageToken"] = token.into();
    }
    assert_eq!(services, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"], "each once");
    assert!(left.len() > 1 && left.windows(2).all(|pair| pair[0] > pair[1]), "{left:?}");
    assert_eq!(left[0], 7 - 3);
}

#[tokio::test]
async fn an_environment_pack_that_says_something_else_is_refused() {
    let world = fleet(2);
    let client = Client(router(config(&world)));
    let good = unzip(&exported(&client, json!({"environment": {"name": "prod"}, "sign": false})).await);
    let refused = |from: &str, to: &str, name: &str| {
        let mut files = good.clone();
        let (_, bytes) = files.iter_mut().find(|(other, _)| other == name).expect("the file");
        let text = String::from_utf8(bytes.clone()).expect("a text");
        assert!(text.contains(from), "{from} in {text}");
        *bytes = text.replacen(from, to, 1).into_bytes();
        if name != "manifest.json" {
            recompute(&mut files, name);
        }
        verify(Cursor::new(rezip(&files)), &check(&world, true)).expect_err("another answer")
    };
    let answer = "answers/environment.json";
    for (from, to, name, why) in [
        ("\"prod\"", "\"test\"", answer, "another question"),
        ("\"asOf\":2", "\"asOf\":1", answer, "another question"),
        ("\"services\":", "\"other\":", answer, "no services"),
        ("\"index\":1", "\"index\":0", answer, "not in the pack"),
        ("\"environment\": {", "\"ignored\": {", "manifest.json", "none of the files"),
    ] {
        let error = format!("{:?}", refused(from, to, name));
        assert!(error.contains(why), "{from}: {error}");
    }
}

fn change(random: &mut Rng, sample: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.usize(..3) {
        let at = random.usize(..bytes.len().max(1));
        let end = (at + 1 + random.usize(..16)).min(bytes.len());
        match random.usize(..6) {
            _ if bytes.is_empty() => bytes.push(0),
            0 => bytes[at] ^= 1 << random.usize(..8),
            1 => bytes[at] = [0, 1, 0x7f, 0xff, b'\n', b'"', b'0', b'/'][random.usize(..8)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes[at..end].fill(0xff),
        }
    }
    bytes
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn bounded(pack: &[u8], check: &Check<'_>) -> Result<Verified, Error> {
    let mut outcome = None;
    let memory = allocation_counter::measure(|| outcome = Some(verify(Cursor::new(pack), check))).bytes_max;
    assert!(memory <= MEMORY_MAX, "{memory} bytes of memory for a pack of {}", pack.len());
    let mut verified = outcome.expect("measured")?;
    // Blanks in the envelope and the hint which key it is are nobody's statement: they may change the number of bytes.
    let (plain, bytes) = verified.checks[0].split_once(" files, ").expect("files and bytes");
    assert!(plain.starts_with("the zip is plain: ") && bytes.contains(" bytes unpacked"), "{bytes}");
    verified.checks.remove(0);
    Ok(verified)
}

/// Changes to the zip, to a file in it, and to a file whose digest is then made to fit. What is still accepted says the
/// same.
#[tokio::test]
async fn changed_packs_are_refused_or_say_the_same() {
    let seed = number("PEDIGRAPH_TEST_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let long = if std::env::var_os("PEDIGRAPH_TEST_LONG").is_some() { 100 } else { 1 };
    let count = number("PEDIGRAPH_TEST_MUTATIONS").unwrap_or(MUTATIONS * long);
    eprintln!("packs: {count} mutations of each kind, PEDIGRAPH_TEST_SEED={seed}");
    let world = world();
    let client = Client(router(config(&world)));
    for sign in [true, false] {
        let pack = exported(&client, json!({"artifactDigests": [digest("1")], "sign": sign, "since": 1})).await;
        let (check, files) = (check(&world, !sign), unzip(&pack));
        let good = bounded(&pack, &check).expect("a good pack");
        assert_eq!(bounded(&rezip(&files), &check).as_ref(), Ok(&good));
        let mut random = Rng::with_seed(seed);
        let mut accepted = 0_u64;
        for n in 0..count {
            if let Ok(said) = bounded(&change(&mut random, &pack), &check) {
                assert_eq!(said, good, "seed {seed}, change {n} of the zip");
                accepted += 1;
            }
            let mut changed = files.clone();
            let (name, bytes) = &mut changed[random.usize(..files.len())];
            let name = name.clone();
            *bytes = change(&mut random, bytes);
            let fits = !name.starts_with("manifest");
            if fits && n % 2 == 0 {
                recompute(&mut changed, &name);
            }
            if let (Ok(said), true) = (bounded(&rezip(&changed), &check), sign) {
                assert_eq!(said, good, "seed {seed}, change {n} of {name}");
            }
        }
        eprintln!("signed {sign}: {accepted} of {count} changed zips say the same");
        assert!(accepted < count / 10, "what is changed is noticed");
    }
}

/// Where the headers and the directory of a zip are: each a range, and of the directory's rows the one byte that may
/// differ, which says by which version of a program the zip was made.
fn described(pack: &[u8]) -> (Vec<std::ops::Range<usize>>, Vec<usize>) {
    let number = |at: usize, bytes: usize| {
        pack[at..at + bytes].iter().rev().fold(0, |sum: usize, byte| sum << 8 | usize::from(*byte))
    };
    let directory = number(pack.len() - 6, 4);
    let mut ranges: Vec<_> = std::iter::once(directory..pack.len()).collect();
    let (mut free, mut at) = (vec![], directory);
    while pack[at..].starts_with(b"PK\x01\x02") {
        free.push(at + 4);
        let header = number(at + 42, 4);
        ranges.push(header..header + 30 + number(header + 26, 2));
        at += 46 + number(at + 28, 2);
    }
    (ranges, free)
}

/// What stands around the files is signed by nobody, so it may say nothing: every bit of it.
#[tokio::test]
async fn a_bit_flipped_in_what_the_zip_says_of_its_files_is_refused() {
    let world = world();
    let client = Client(router(config(&world)));
    let pack = exported(&client, json!({"artifactDigests": [digest("1")]})).await;
    let check = check(&world, false);
    let (ranges, free) = described(&pack);
    assert!(ranges.len() > 10 && free.len() == ranges.len() - 1, "{ranges:?}");
    let mut changed = pack.clone();
    for at in ranges.into_iter().flatten() {
        for bit in 0..8 {
            changed[at] ^= 1 << bit;
            // The upper one says that a mode is a plain file's, which one without a kind is, too.
            let may_differ = free.contains(&at) || (bit == 7 && at >= 37 && free.contains(&(at - 37)));
            assert_eq!(verify(Cursor::new(&changed), &check).is_ok(), may_differ, "byte {at}, bit {bit}");
            changed[at] ^= 1 << bit;
        }
    }
    let link = |mode: u16| {
        let mut pack = pack.clone();
        let at = free[0] + 36;
        pack[at..at + 2].copy_from_slice(&mode.to_le_bytes());
        verify(Cursor::new(&pack), &check).err().map(|error| format!("{error:?}"))
    };
    assert_eq!(link(0o100_600), None, "for its owner alone");
    for mode in [0o120_644, 0o100_755, 0o104_644, 0o040_755] {
        assert!(link(mode).is_some_and(|why| why.contains("plain file")), "{mode:o}");
    }
}

fn json_of(files: &Files, name: &str) -> Value {
    let found = files.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}"));
    serde_json::from_slice(&found.1).expect("JSON")
}

/// The name of an answer about the newer of two versions.
fn answer(kind: &str) -> String {
    format!("answers/{}.{kind}.json", digest("3").replace(':', "-"))
}

fn inputs(answer: &Value) -> Vec<u64> {
    let inputs = answer["inputs"].as_array().expect("a list").iter();
    inputs.map(|input| input["proof"]["index"].as_u64().expect("an index")).collect()
}

#[tokio::test]
async fn verdicts_and_what_changed_since_the_parents_are_in_a_pack() {
    let world = two_versions();
    world.publish_checkpoint();
    let client = Client(router(config(&world)));
    let question = json!({"artifactDigests": [digest("3")]});
    let pack = exported(&client, question.clone()).await;
    assert_eq!(pack, exported(&client, question.clone()).await);
    let files = unzip(&pack);
    let (verdicts, changes) = (json_of(&files, &answer("verdicts")), json_of(&files, &answer("changes")));
    let verdict = client.get(&format!("/api/v1/artifacts/{}/verdicts/CVE-2026-0001", digest("3"))).await.json();
    assert_eq!(
        (&verdicts["verdicts"], &verdicts["count"], &verdicts["atLeast"]),
        (&json!([verdict]), &1.into(), &false.into())
    );
    assert_eq!(verdicts["links"][0]["consensusProjectionId"], verdict["consensusProjectionId"]);
    let parent = &changes["parents"][0];
    assert_eq!(
        (&parent["from"], &parent["to"], &parent["count"]),
        (&digest("2").into(), &digest("3").into(), &1.into())
    );
    // The parent's statement is behind the delta and the diff, and its SBOM behind the diff.
    assert_eq!((inputs(&parent["deltas"][0]), inputs(&parent["diff"])), (vec![2, 3], vec![2, 3, 4]));
    let edge = format!("from={}&to={}", digest("2"), digest("3"));
    let mut along = client.get(&format!("/api/v1/vex-deltas?{edge}")).await.json()["deltas"][0].clone();
    along["inputs"] = parent["deltas"][0]["inputs"].clone();
    let mut diff = client.get(&format!("/api/v1/lineage/diff?{edge}")).await.json();
    diff["inputs"] = parent["diff"]["inputs"].clone();
    assert_eq!((&parent["deltas"][0], &parent["diff"]), (&along, &diff));
    for index in 0..5 {
        assert!(files.iter().any(|(name, _)| *name == format!("documents/{index}")), "entry {index}");
    }
    let said = verify(Cursor::new(&pack), &check(&world, false)).expect("a good pack");
    let replays = "3 replay hashes of verdicts, deltas and diffs are those of the entries they name";
    assert!(said.checks.iter().any(|check| check == replays), "{:?}", said.checks);
    let mut config = config(&world);
    config.limits.export.entries_max = 4;
    let refused = Client(router(config)).post("/api/v1/lineage/export", &[], question.to_string()).await;
    assert_eq!(
        (refused.problem(), &refused.json()["of"]),
        ((413, "LINEAGE_EXPORT_TOO_LARGE".into()), &"entries".into())
    );
}

#[tokio::test]
async fn a_verdict_or_delta_that_its_entries_do_not_give_is_refused() {
    let world = two_versions();
    world.publish_checkpoint();
    let client = Client(router(config(&world)));
    let files = unzip(&exported(&client, json!({"artifactDigests": [digest("3")], "sign": false})).await);
    let told = |kind: &str, change: &dyn Fn(&mut Value)| {
        let (mut changed, name) = (files.clone(), answer(kind));
        let mut value = json_of(&files, &name);
        change(&mut value);
        let (_, bytes) = changed.iter_mut().find(|(other, _)| *other == name).expect("the file");
        *bytes = serde_json::to_vec(&value).expect("JSON");
        recompute(&mut changed, &name);
        match verify(Cursor::new(rezip(&changed)), &check(&world, true)) {
            Err(Error::Fault(fault)) => fault.what,
            other => panic!("{other:?}"),
        }
    };
    let zeros = format!("sha256:{}", "0".repeat(64));
    let fewer = |list: &mut Value| drop(list.as_array_mut().expect("a list").remove(0));
    let hash = format!("a replay hash of {} is not that of the entries it names", digest("3"));
    assert_eq!(told("verdicts", &|value| value["verdicts"][0]["replayHash"] = zeros.clone().into()), hash);
    assert_eq!(told("verdicts", &|value| fewer(&mut value["verdicts"][0]["explanation"])), hash);
    for at in ["/parents/0/diff", "/parents/0/deltas/0"] {
        let said = told("changes", &|value| fewer(&mut value.pointer_mut(at).expect("an answer")["inputs"]));
        assert_eq!(
            said,
            format!("a replay hash of {}..{} is not that of the entries it names", digest("2"), digest("3"))
        );
    }
    let of_another = told("changes", &|value| value["parents"][0]["from"] = digest("4").into());
    assert_eq!(of_another, "has verdicts or changes of another shape, or of another artifact");
    let link = |link: &'static str| {
        told("changes", &move |value| value["parents"][0]["deltas"][0]["rationale"]["evidenceLink"] = link.into())
    };
    assert_eq!(link("/api/v1/entries/99"), "an answer links to evidence that is not in the pack");
    assert_eq!(link("nowhere"), "links to \"nowhere\" as evidence, which is no entry");
    let absent = told("verdicts", &|value| {
        value["verdicts"][0]["explanation"][0]["proof"] = json!({"index": 99, "leafHash": "0".repeat(64)});
    });
    assert_eq!(absent, format!("the pack has not all events behind the replay hash of {}", digest("3")));
}

/// Packs that were made before they had these answers.
#[tokio::test]
async fn a_pack_without_verdicts_and_changes_is_good_and_says_so() {
    let world = two_versions();
    world.publish_checkpoint();
    let client = Client(router(config(&world)));
    let mut files = unzip(&exported(&client, json!({"artifactDigests": [digest("3")], "sign": false})).await);
    let gone = [answer("verdicts"), answer("changes")];
    files.retain(|(name, _)| !gone.contains(name));
    let (_, manifest) = files.iter_mut().find(|(name, _)| name == "manifest.json").expect("a manifest");
    let mut value: Value = serde_json::from_slice(manifest).expect("JSON");
    value["files"].as_array_mut().expect("files").retain(|row| !gone.iter().any(|name| row["name"] == **name));
    *manifest = serde_json::to_vec(&value).expect("JSON");
    let said = verify(Cursor::new(rezip(&files)), &check(&world, true)).expect("a good pack");
    let without = "2 answers about verdicts and changes that the pack does not have: nothing is proved of them";
    assert!(said.unchecked.iter().any(|text| text == without), "{:?}", said.unchecked);
}
