//! Checkpoints and their witnesses: what is published, added, held or fatal, and that no crash lets two checkpoints of
//! one size out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use pedigraph_ledger::*;
use sha2::{Digest as _, Sha256};

use crate::fault::FaultyFiles;
use crate::support::*;
use crate::sweep::{crash_everywhere, open_faulty};

/// A witness as tlog-witness describes it, in memory: of one log, whose proofs it checks.
#[derive(Clone)]
struct Peer(Arc<Mutex<State>>);

struct State {
    key: SigningKey,
    log_vkey: Option<String>,
    size: u64,
    root: Hash,
    /// Everything that it was shown.
    shown: BTreeMap<u64, String>,
    /// Sizes it was asked from.
    asked_from: Vec<u64>,
    is_down: bool,
}

const PEER: &str = "peer.example";
const OTHER: &str = "other.example";

impl Peer {
    fn new(seed: u8) -> Peer {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let (root, shown) = (Hash(Sha256::digest([]).into()), BTreeMap::new());
        let state = State { key, log_vkey: None, size: 0, root, shown, asked_from: Vec::new(), is_down: false };
        Peer(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn policy_line(&self, name: &str) -> String {
        let typed = typed(&self.state().key);
        format!(
            "witness {name} {name}+{}+{} http://{name}\n",
            hex::encode(key_id(name, &typed)),
            BASE64_STANDARD.encode(typed)
        )
    }

    fn answer(&self, name: &str, body: &str) -> Result<Reply, String> {
        let mut state = self.state();
        if state.is_down {
            return Err("connection refused".into());
        }
        let (head, note) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let hash = |line: &str| Hash(BASE64_STANDARD.decode(line).unwrap().try_into().unwrap());
        let proof: Vec<_> = lines.map(hash).collect();
        state.asked_from.push(old);
        let reply = |status, body: String| Ok(Reply { status, body: body.into_bytes() });
        let Ok((size, root)) = verify_checkpoint(note, state.log_vkey.as_deref().unwrap()) else {
            return reply(403, String::new());
        };
        let before = state.shown.entry(size).or_insert_with(|| note.to_owned());
        assert_eq!(before, note, "two notes of size {size} have left");
        if old != state.size {
            return reply(409, format!("{}\n", state.size));
        }
        if !consistency_holds((old, state.root), (size, root), &proof) {
            return reply(422, String::new());
        }
        (state.size, state.root) = (size, root);
        reply(200, cosignature(name, &state.key, note, 1_700_000_000 + size))
    }
}

fn typed(key: &SigningKey) -> Vec<u8> {
    [&[4][..], key.verifying_key().as_bytes()].concat()
}

fn key_id(name: &str, typed: &[u8]) -> Vec<u8> {
    Sha256::digest([name.as_bytes(), b"\n", typed].concat())[..4].to_vec()
}

fn cosignature(name: &str, key: &SigningKey, note: &str, time: u64) -> String {
    let text = &note[..note.find("\n\n").unwrap() + 1];
    let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let line = [&key_id(name, &typed(key))[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
    format!("\u{2014} {name} {}\n", BASE64_STANDARD.encode(line))
}

struct Peers(Vec<(&'static str, Peer)>);

impl Transport for Peers {
    fn post(&self, url: &str, body: &str) -> Result<Reply, String> {
        let (name, peer) = self.0.iter().find(|(name, _)| url == format!("http://{name}/add-checkpoint")).unwrap();
        peer.answer(name, body)
    }
}

fn policy(peers: &[(&'static str, Peer)]) -> Policy {
    let lines: String = peers.iter().map(|(name, peer)| peer.policy_line(name)).collect();
    let names: Vec<_> = peers.iter().map(|(name, _)| *name).collect();
    Policy::parse(format!("{lines}group all all {}\nquorum all\n", names.join(" ")).as_bytes()).unwrap()
}

fn witnesses(peers: &[(&'static str, Peer)], mode: Mode) -> Arc<Witnesses> {
    Arc::new(Witnesses::new(policy(peers), mode, Box::new(Peers(peers.to_vec()))).unwrap())
}

fn publisher(writer: &Writer, peers: &[(&'static str, Peer)], witnesses: &Arc<Witnesses>) -> Result<Publisher, Error> {
    for (_, peer) in peers {
        peer.state().log_vkey = Some(writer.reader().vkey(&LogId::default_log()));
    }
    Publisher::new(writer)?.with_witnesses(Arc::clone(witnesses))
}

/// Size of the published checkpoint and who cosigned it.
fn published(reader: &Reader, peers: &[(&'static str, Peer)]) -> (u64, usize) {
    let checkpoint = reader.checkpoint(&LogId::default_log()).unwrap();
    let text = std::str::from_utf8(&checkpoint.note).unwrap();
    assert!(verify_checkpoint(text, &reader.vkey(&LogId::default_log())).is_ok());
    let has = |name: &str| text.contains(&format!("\u{2014} {name} "));
    (checkpoint.size, peers.iter().filter(|(name, _)| has(name)).count())
}

#[test]
fn a_quorum_is_published_and_each_question_starts_where_the_last_ended() {
    let dir = memory_dir();
    let peers = [(PEER, Peer::new(1)), (OTHER, Peer::new(2))];
    let asked = |n: usize| std::mem::take(&mut peers[n].1.state().asked_from);
    {
        let mut writer = open_here(dir.path());
        let mut publisher = publisher(&writer, &peers, &witnesses(&peers, Mode::Hold)).unwrap();
        for (from, count) in [(0, 5), (5, 300), (305, 1)] {
            writer.append(batch(numbered(from, count))).unwrap();
            assert_eq!(publisher.publish(1).unwrap(), 1);
            assert_eq!(published(&writer.reader(), &peers), (from + count, 2));
        }
        assert_eq!(publisher.publish(1).unwrap(), 0);
    }
    assert_eq!((asked(0), asked(1)), (vec![0, 5, 305], vec![0, 5, 305]));

    // A restart remembers; what is remembered wrongly or not at all costs one more question.
    let mut writer = open_here(dir.path());
    let witnesses_of_now = witnesses(&peers, Mode::Hold);
    let mut publisher = publisher(&writer, &peers, &witnesses_of_now).unwrap();
    assert_eq!(witnesses_of_now.status().witnesses[0].cosigned[&LogId::default_log()], (306, 1_700_000_306));
    (peers[1].1.state().size, peers[1].1.state().root) =
        (5, writer.reader().root_at(&LogId::default_log(), 5).unwrap());
    writer.append(batch(numbered(306, 1))).unwrap();
    assert_eq!(publisher.publish(1).unwrap(), 1);
    assert_eq!((asked(0), asked(1)), (vec![306], vec![306, 5]));
    let note = writer.reader().checkpoint(&LogId::default_log()).unwrap().note;
    let trust =
        |policy| Trust { vkey: Some(writer.reader().vkey(&LogId::default_log())), policy: Some(policy), chain: None };
    let text = std::str::from_utf8(&note).unwrap();
    assert_eq!(trust(policy(&peers)).checkpoint(text).unwrap().cosignatures.len(), 2);
    let stranger = [(PEER, Peer::new(1)), (OTHER, Peer::new(3))];
    assert!(matches!(trust(policy(&stranger)).checkpoint(text), Err(Error::Refused(why)) if why.contains("quorum")));
}

#[test]
fn a_witness_that_is_down_is_done_without_and_made_up_for_or_waited_for() {
    for mode in [Mode::Publish, Mode::Hold] {
        let dir = memory_dir();
        let peers = [(PEER, Peer::new(1)), (OTHER, Peer::new(2))];
        let mut writer = open_here(dir.path());
        let reader = writer.reader();
        let witnesses = witnesses(&peers, mode);
        let mut publisher = publisher(&writer, &peers, &witnesses).unwrap();
        peers[1].1.state().is_down = true;
        writer.append(batch(numbered(0, 7))).unwrap();
        let count = publisher.publish(1).unwrap();
        let status = witnesses.status();
        assert_eq!(status.witnesses[1].failures[&Failure::Unreachable], 1);
        assert_eq!(status.witnesses[1].failure.as_deref(), Some("connection refused"));
        let marked = (status.below_quorum.len(), status.held.len());
        match mode {
            Mode::Publish => assert_eq!((count, published(&reader, &peers), marked), (1, (7, 1), (1, 0))),
            Mode::Hold => assert_eq!((count, published(&reader, &peers), marked), (0, (0, 0), (0, 1))),
        }
        // More entries come; the checkpoint that waits is still the next one.
        writer.append(batch(numbered(7, 1))).unwrap();
        publisher.publish(1).unwrap();
        peers[1].1.state().is_down = false;
        for _ in 0..4 {
            publisher.publish(1).unwrap();
        }
        assert_eq!(published(&reader, &peers), (8, 2), "{mode:?}");
        let status = witnesses.status();
        assert_eq!((status.below_quorum.len(), status.held.len(), &status.witnesses[1].failure), (0, 0, &None));
        assert_sound(dir.path());
    }
}

#[test]
fn one_that_stays_down_is_asked_more_rarely() {
    let dir = memory_dir();
    let peers = [(PEER, Peer::new(1)), (OTHER, Peer::new(2))];
    let mut writer = open_here(dir.path());
    let witnesses = witnesses(&peers, Mode::Publish);
    let mut publisher = publisher(&writer, &peers, &witnesses).unwrap();
    peers[1].1.state().is_down = true;
    for n in 0..100 {
        writer.append(batch(numbered(n, 1))).unwrap();
        publisher.publish(1).unwrap();
    }
    let status = witnesses.status();
    // In the rounds 1, 2, 4, 8, 16, 32, 64, 96.
    assert_eq!(status.witnesses[1].failures[&Failure::Unreachable], 8);
    assert_eq!(status.witnesses[0].cosigned[&LogId::default_log()].0, 100);
}

#[test]
fn another_history_is_fatal_and_nothing_follows() {
    let dir = memory_dir();
    let peers = [(PEER, Peer::new(1))];
    let mut writer = open_here(dir.path());
    writer.append(batch(numbered(0, 7))).unwrap();
    let start = || publisher(&writer, &peers, &witnesses(&peers, Mode::Publish)).unwrap();
    let says = |mut publisher: Publisher, words: &str| {
        let fork = publisher.publish(1);
        assert!(matches!(&fork, Err(Error::Fork(why)) if why.contains(words) && why.contains("restore")), "{fork:?}");
        assert!(publisher.publish(1).is_err(), "it is poisoned");
        assert_eq!(published(&writer.reader(), &peers), (0, 0));
    };
    // It has seen more of this log than there is.
    peers[0].1.state().size = 8;
    says(start(), "size 8");
    // It has seen another tree.
    peers[0].1.state().size = 5;
    says(start(), "another tree");
}

#[test]
fn what_was_signed_is_taken_up_even_without_witnesses_and_contradicts_nothing() {
    let dir = memory_dir();
    let key = SecretKey::parse(&hex::encode([9; 32])).unwrap();
    let options = Options { signer: Some(Arc::new(key.clone())), ..options() };
    let peers = [(PEER, Peer::new(1))];
    peers[0].1.state().is_down = true;
    let pending = dir.path().join("logs/default/pending");
    {
        let mut writer = open(dir.path(), &options).unwrap();
        let mut publisher = publisher(&writer, &peers, &witnesses(&peers, Mode::Hold)).unwrap();
        writer.append(batch(numbered(0, 7))).unwrap();
        assert_eq!(publisher.publish(1).unwrap(), 0);
        writer.append(batch(numbered(7, 2))).unwrap();
    }
    let signed = std::fs::read(&pending).unwrap();
    let mut writer = open(dir.path(), &options).unwrap();
    let reader = writer.reader();
    let size = || reader.checkpoint(&LogId::default_log()).unwrap().size;
    // Nobody is asked any more: first what was signed, then the rest.
    let mut publisher = Publisher::new(&writer).unwrap();
    publisher.publish(1).unwrap();
    assert_eq!((size(), reader.checkpoint(&LogId::default_log()).unwrap().note.to_vec()), (7, signed.clone()));
    publisher.publish(1).unwrap();
    assert_eq!(size(), 9);
    writer.append(batch(numbered(9, 1))).unwrap();
    drop((publisher, writer));

    // The note of another ledger, and one that is beyond the journal, are no reason to go on.
    let text = String::from_utf8(signed).unwrap();
    let origin = text.lines().next().unwrap().to_owned();
    let note = |size: u64| {
        let body = format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode([7; 32]));
        let typed = [&[1][..], &key.public_key()].concat();
        let line = [&key_id(&origin, &typed)[..], &key.sign(body.as_bytes()).unwrap()].concat();
        format!("{body}\n\u{2014} {origin} {}\n", BASE64_STANDARD.encode(line))
    };
    let garbage = "no note".to_owned();
    for (bytes, words) in
        [(note(11), "10 entries are there"), (note(10), "was signed for size 10"), (garbage, "malformed")]
    {
        std::fs::write(&pending, bytes).unwrap();
        let refused = Publisher::new(&open(dir.path(), &options).unwrap()).err();
        assert!(matches!(&refused, Some(Error::Corrupt(why)) if why.contains(words)), "{words}: {refused:?}");
    }
    // A full check says the same, and what was lost.
    let root = open_reader(dir.path()).unwrap().root_at(&LogId::default_log(), 7).unwrap();
    for (bytes, words, index) in [
        (note(11), "11 entries were signed, and perhaps shown to witnesses; 10 are there", Some(10)),
        (note(10), "another root at size 10", None),
        (note(7), "another root at size 7", None),
        (text.replace("\n7\n", "\n8\n"), "does not verify", None),
        (text.replace(&origin, "a.example/other"), "no signature by the given key", None),
        ("no note".to_owned(), "malformed", None),
    ] {
        std::fs::write(&pending, bytes).unwrap();
        let verified = verify(dir.path(), &mut |_, _| {}).unwrap();
        let fault = verified.first_fault.unwrap_or_else(|| panic!("{words}"));
        assert!(fault.what.contains(words) && fault.what.contains("pending"), "{words}: {}", fault.what);
        assert_eq!((fault.index, fault.log), (index, Some(LogId::default_log())), "{words}");
        assert!(words.contains("size 7") == (fault.found == Some(root)), "{words}");
    }
    std::fs::write(&pending, &text).unwrap();
    assert!(assert_sound(dir.path()).checks.iter().any(|check| check.starts_with("1 checkpoints that were signed")));
    // A log of which nothing is left but what was signed.
    std::fs::create_dir(dir.path().join("logs/lost")).unwrap();
    std::fs::write(dir.path().join("logs/lost/pending"), text.replace(&origin, &origin.replace("default", "lost")))
        .unwrap();
    let fault = verify(dir.path(), &mut |_, _| {}).unwrap().fault.unwrap();
    assert!(fault.contains("logs/lost/pending"), "{fault}");
}

#[test]
fn a_quorum_of_which_nobody_can_be_asked_is_refused() {
    let peers = [(PEER, Peer::new(1))];
    let line = peers[0].1.policy_line(PEER).replace(" http://peer.example", "");
    let policy = Policy::parse(format!("{line}quorum {PEER}\n").as_bytes()).unwrap();
    let refused = Witnesses::new(policy, Mode::Publish, Box::new(Peers(peers.to_vec())));
    assert!(matches!(refused, Err(Error::Refused(why)) if why.contains("URL")));
}

const BATCHES: u64 = 4;

/// Appends and publishes from where the ledger is; opened twice on the way.
fn run(dir: &Path, storage: &FaultyFiles, peers: &[(&'static str, Peer)], acknowledged: &mut u64) -> Result<(), Error> {
    for end in [BATCHES / 2, BATCHES] {
        let mut writer = open_faulty(dir, storage)?;
        let mut publisher = publisher(&writer, peers, &witnesses(peers, Mode::Hold))?;
        publisher.publish(1)?;
        let from = writer.positions().get(&b"source"[..]).copied().unwrap_or(0);
        for n in from..end {
            let positions = vec![("source".into(), n + 1)];
            writer.append(Batch { positions, ..batch(numbered(n * 3, 3)) })?;
            *acknowledged = n + 1;
            publisher.publish(1)?;
        }
    }
    Ok(())
}

/// What a note signs is in a file of the ledger: either it is pending or something newer is published.
fn check_kept(dir: &Path, peer: &Peer) {
    let Some((size, shown)) = peer.state().shown.last_key_value().map(|(size, note)| (*size, note.clone())) else {
        return;
    };
    let read = |name: &str| std::fs::read_to_string(dir.join("logs/default").join(name)).unwrap_or_default();
    let (pending, checkpoint) = (read("pending"), read("checkpoint"));
    let size_of = |note: &str| note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0u64);
    let kept = pending == shown || checkpoint.starts_with(&shown) || size_of(&checkpoint) > size;
    assert!(kept, "size {size} left and is not on disk: pending {pending:?}, checkpoint {checkpoint:?}");
}

#[test]
fn no_crash_lets_two_checkpoints_of_a_size_out_or_one_that_is_not_durable() {
    let place = memory_dir();
    let (whole, storage) = (place.path().join("whole"), FaultyFiles::default());
    let peers = || [(PEER, Peer::new(1)), (OTHER, Peer::new(2))];
    let told = peers();
    run(&whole, &storage, &told, &mut 0).unwrap();
    assert_eq!(published(&open_reader(&whole).unwrap(), &told), (BATCHES * 3, 2));
    let calls = storage.calls();
    let crashes = crash_everywhere(calls, |crash| {
        let (dir, label, peers) = (crash.dir.as_path(), &crash.label, peers());
        let mut acknowledged = 0;
        crash.happens(run(dir, &crash.storage, &peers, &mut acknowledged));
        check_kept(dir, &peers[0].1);
        run(dir, &FaultyFiles::default(), &peers, &mut acknowledged).unwrap();
        let reader = open_reader(dir).unwrap();
        assert_eq!(published(&reader, &peers), (BATCHES * 3, 2), "{label}");
        assert_eq!(verify(dir, &mut |_, _| {}).unwrap().fault, None, "{label}");
    });
    eprintln!("witness sweep: {calls} calls, {crashes} crashes");
}
