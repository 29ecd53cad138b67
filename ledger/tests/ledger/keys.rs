//! Keys: the chain of rotations, what is not one, every crash in between, and signers that fail.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pedigraph_ledger::*;

use crate::fault::FaultyFiles;
use crate::support::*;
use crate::sweep::{crash_everywhere, small};

fn external(seed: u8) -> Arc<dyn Signer> {
    Arc::new(SecretKey::parse(&hex::encode([seed; 32])).unwrap())
}

/// Two entries and a checkpoint under each of three keys: one in the file, its successor there, and one that is
/// elsewhere.
fn run(dir: &Path, storage: &FaultyFiles) -> Result<(), Error> {
    loop {
        let done = open_reader(dir).map_or(0, |reader| reader.rotations().len());
        let options = Options { signer: (done == 2).then(|| external(1)), ..small() };
        let shared: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut writer = open_with(dir, &options, Arc::clone(&shared), Work::Inline)?;
        let mut publisher = Publisher::new(&writer)?;
        let size = writer.size(&LogId::default_log());
        let until = 2 * (done as u64 + 1);
        writer.append(batch(numbered(size, until.saturating_sub(size))))?;
        publisher.publish(1)?;
        drop((writer, publisher));
        match done {
            0 => rotate_key(dir, &options, None, shared)?,
            1 => rotate_key(dir, &options, Some(external(1)), shared)?,
            _ => return Ok(()),
        };
    }
}

/// The chain leads from the first key to the newest, and no secret of an older one is left.
fn check_chain(dir: &Path, label: &str) {
    let reader = open_reader(dir).unwrap();
    let log = LogId::default_log();
    assert_eq!(follow_keys(&reader.key_chain(), &reader.first_vkey(&log)).unwrap(), reader.vkey(&log), "{label}");
    let newest = reader.vkey(&log);
    for name in fs::read_dir(dir).unwrap() {
        let path = name.unwrap().path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let Some(seed) = text.strip_prefix("pedigraph ledger key 1 ed25519 ") else { continue };
        let public = SecretKey::parse(seed).unwrap().public_key();
        let typed = BASE64_STANDARD.encode([&[1], &public[..]].concat());
        assert!(newest.ends_with(&typed), "{label}: {} holds a key that is not the newest", path.display());
    }
    assert_eq!(verify(dir, &mut |_, _| {}).unwrap().fault, None, "{label}");
}

#[test]
fn who_trusts_any_key_can_follow_the_chain() {
    let dir = memory_dir();
    run(dir.path(), &FaultyFiles::default()).unwrap();
    check_chain(dir.path(), "whole run");
    let reader = open_reader(dir.path()).unwrap();
    let log = LogId::default_log();
    assert_eq!(reader.rotations().iter().map(|r| (r.sequence, r.commits)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    assert!(!dir.path().join("key").exists(), "the newest key is elsewhere");
    let (size, _) = verify_checkpoint(&newest_checkpoint(dir.path()), &reader.vkey(&log)).unwrap();
    assert_eq!(size, 6);
    assert!(verify_checkpoint(&newest_checkpoint(dir.path()), &reader.first_vkey(&log)).is_err());
    // A static copy carries the chain.
    let copy = memory_dir();
    mirror(&reader, &log, copy.path()).unwrap();
    assert_eq!(verify_mirror(copy.path(), &reader.first_vkey(&log)).unwrap(), 6);
    fs::remove_file(copy.path().join("keys")).unwrap();
    assert!(verify_mirror(copy.path(), &reader.first_vkey(&log)).is_err());
    assert_eq!(verify_mirror(copy.path(), &reader.vkey(&log)).unwrap(), 6);
    // A key comes only once, and only its owner rotates.
    let storage: Arc<dyn Storage> = Arc::new(LocalFiles);
    let as_newest = Options { signer: Some(external(1)), ..small() };
    let again = rotate_key(dir.path(), &as_newest, Some(external(1)), Arc::clone(&storage));
    assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
    let stranger = Options { signer: Some(external(2)), ..small() };
    assert!(rotate_key(dir.path(), &stranger, Some(external(3)), Arc::clone(&storage)).is_err());
    assert!(rotate_key(dir.path(), &small(), None, storage).is_err());
    check_chain(dir.path(), "after refusals");
}

#[test]
fn a_copy_of_a_ledger_has_its_chain_and_a_stranger_with_an_old_key_follows_it() {
    let (dir, place) = (memory_dir(), memory_dir());
    run(dir.path(), &FaultyFiles::default()).unwrap();
    let (copy, restored) = (place.path().join("copy"), place.path().join("restored"));
    backup(dir.path(), &copy, KeyCopy::Without, &mut |_, _| {}).unwrap();
    check_chain(&copy, "copy");
    assert!(restore(&copy, &restored, &RestoreOptions::default(), &mut |_, _| {}).is_err(), "nobody could sign");
    let signed = RestoreOptions { signer: Some(external(1)), ..RestoreOptions::default() };
    restore(&copy, &restored, &signed, &mut |_, _| {}).unwrap();
    check_chain(&restored, "restored");
    // An older state of the chain does not take the place of a newer one.
    rotate_key(&restored, &Options { signer: Some(external(1)), ..small() }, None, Arc::new(LocalFiles)).unwrap();
    let back = restore(&copy, &restored, &signed, &mut |_, _| {});
    assert!(matches!(&back, Err(Error::Refused(why)) if why.contains("was replaced after")), "{back:?}");
    let reader = open_reader(dir.path()).unwrap();
    let first = Trust { vkey: Some(reader.first_vkey(&LogId::default_log())), ..Trust::default() };
    let mut verified = verify(dir.path(), &mut |_, _| {}).unwrap();
    verify_against(&reader, &first, None, &mut verified).unwrap();
    assert_eq!(verified.fault, None);
    let stranger = Trust { vkey: Some(first.vkey.unwrap().replace('A', "B")), ..Trust::default() };
    assert!(verify_against(&reader, &stranger, None, &mut verified).is_err());
}

#[test]
fn a_reader_that_was_open_before_sees_the_new_key() {
    let dir = memory_dir();
    drop(open(dir.path(), &small()).unwrap());
    let reader = open_reader(dir.path()).unwrap();
    let log = LogId::default_log();
    let before = reader.vkey(&log);
    rotate_key(dir.path(), &small(), None, Arc::new(LocalFiles)).unwrap();
    assert_ne!(reader.vkey(&log), before);
    assert_eq!(reader.first_vkey(&log), before);
}

#[test]
fn a_chain_that_is_not_ours_or_was_changed_is_refused() {
    let (dir, other) = (memory_dir(), memory_dir());
    run(dir.path(), &FaultyFiles::default()).unwrap();
    run(other.path(), &FaultyFiles::default()).unwrap();
    let path = dir.path().join("keys");
    let (chain, foreign) = (fs::read_to_string(&path).unwrap(), fs::read_to_string(other.path().join("keys")).unwrap());
    let log = LogId::default_log();
    let first = open_reader(dir.path()).unwrap().first_vkey(&log);
    let second =
        chain.find("pedigraph key rotation 1\nledger").and_then(|at| chain[at + 1..].find("pedigraph key")).unwrap()
            + 1;
    let value =
        |text: &str, key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned).unwrap();
    let table = [
        ("another ledger's", foreign.clone()),
        ("begins later", chain[second..].to_owned()),
        ("twice the same", format!("{chain}\n{}", &chain[second..])),
        ("in another order", format!("{}\n{}", &chain[second..], &chain[..second - 1])),
        ("another's, with our key in it", foreign.replace(&value(&foreign, "old "), &value(&chain, "old "))),
        ("with another number", chain.replace("sequence 2", "sequence 3")),
        ("with text before", format!("x\n{chain}")),
        ("with another's behind it", format!("{chain}\n{foreign}")),
        ("empty lines", format!("{chain}\n\n")),
    ];
    for (what, text) in table {
        fs::write(&path, &text).unwrap();
        assert!(matches!(open_reader(dir.path()), Err(Error::Corrupt(_))), "{what}");
        assert!(matches!(open(dir.path(), &small()), Err(Error::Corrupt(_))), "{what}");
        if what != "begins later" {
            assert!(follow_keys(&text, &first).is_err(), "{what}");
        }
    }
    for at in 0..chain.len() {
        let mut flipped = chain.clone().into_bytes();
        flipped[at] ^= 1;
        let refused = std::str::from_utf8(&flipped).map_or(true, |text| follow_keys(text, &first).is_err());
        assert!(refused, "byte {at}");
    }
    fs::write(&path, &chain).unwrap();
    check_chain(dir.path(), "restored");
    for vkey in ["", "a+b+c", "name+00000000+AA=="] {
        assert!(follow_keys(&chain, vkey).is_err(), "{vkey}");
    }
}

#[test]
fn a_replaced_key_signs_nothing_newer() {
    let (dir, copy) = (memory_dir(), memory_dir());
    let extend = |dir: &Path, from: u64| {
        let mut writer = open(dir, &small()).unwrap();
        writer.append(batch(numbered(from, 2))).unwrap();
        Publisher::new(&writer).unwrap().publish(1).unwrap();
    };
    extend(dir.path(), 0);
    copy_dir(dir.path(), copy.path());
    rotate_key(dir.path(), &small(), None, Arc::new(LocalFiles)).unwrap();
    // The older checkpoint stays good: it was the key of its time.
    assert_sound(dir.path());
    extend(dir.path(), 2);
    extend(copy.path(), 2);
    assert_sound(dir.path());
    fs::write(dir.path().join("logs/default/checkpoint"), newest_checkpoint(copy.path())).unwrap();
    let fault = verify(dir.path(), &mut |_, _| {}).unwrap().fault.unwrap();
    assert!(fault.contains("by a key that was replaced before"), "{fault}");
}

#[test]
fn every_call_of_a_run_with_rotations_fails_or_dies_once() {
    let place = memory_dir();
    let whole = place.path().join("whole");
    let storage = FaultyFiles::default();
    run(&whole, &storage).unwrap();
    let calls = storage.calls();
    let crashes = crash_everywhere(calls, |crash| {
        let (dir, label) = (crash.dir.as_path(), &crash.label);
        crash.happens(run(dir, &crash.storage));
        check_chain(dir, label);
        run(dir, &FaultyFiles::default()).unwrap_or_else(|error| panic!("{label}: {error}"));
        check_chain(dir, label);
        let reader = open_reader(dir).unwrap();
        assert_eq!((reader.rotations().len(), reader.head(&LogId::default_log()).size), (2, 6), "{label}");
    });
    eprintln!("rotation sweep: {calls} calls, {crashes} crashes");
}

/// A shell script that "signs" by looking up what was prepared.
struct Script {
    dir: tempfile::TempDir,
    key: SecretKey,
}

impl Script {
    fn new() -> Script {
        let script = Script { dir: memory_dir(), key: SecretKey::parse(&hex::encode([9; 32])).unwrap() };
        script.write("public", &BASE64_STANDARD.encode(script.key.public_key()));
        script.behave("[ \"$(cat)\" = \"$(cat $D/message)\" ] && cat $D/signature");
        script
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn behave(&self, line: &str) {
        let text =
            format!("D={}\n[ \"$1\" = --public-key ] && exec cat $D/public\n{line}\n", self.dir.path().display());
        self.write("signer", &text);
    }

    fn prepare(&self, message: &str) {
        self.write("message", message);
        self.write("signature", &BASE64_STANDARD.encode(self.key.sign(message.as_bytes()).unwrap()));
    }

    fn start(&self) -> Result<CommandSigner, Error> {
        let path = self.dir.path().join("signer").to_str().unwrap().to_owned();
        CommandSigner::start(&["/bin/sh".to_owned(), path], Duration::from_secs(20))
    }
}

#[test]
fn a_command_signs_and_its_failures_stop_no_entries() {
    let (dir, script) = (memory_dir(), Script::new());
    let log = LogId::default_log();
    let options = Options { signer: Some(Arc::new(script.start().unwrap())), ..small() };
    // Nothing is prepared for the empty tree's checkpoint: the ledger opens all the same.
    let mut writer = open(dir.path(), &options).unwrap();
    assert!(!dir.path().join("key").exists());
    assert_eq!(writer.reader().checkpoint(&log), None);
    let mut publisher = Publisher::new(&writer).unwrap();
    let failures = [
        ("exit 3", "ended with exit status: 3"),
        ("cat > /dev/null; echo nonsense", "64 bytes in base64"),
        ("cat > /dev/null; head -c 5000 /dev/zero", "/bin/sh"),
        ("cat > /dev/null; cat $D/public", "64 bytes in base64"),
        ("cat > /dev/null; cat $D/signature", "not by the key"),
    ];
    script.prepare("another message\n");
    for (n, (line, why)) in (0..).zip(failures) {
        script.behave(line);
        writer.append(batch(numbered(n, 1))).unwrap();
        match publisher.publish(1) {
            Err(Error::Signer(text)) => assert!(text.contains(why), "{text}"),
            other => panic!("{line}: {other:?}"),
        }
        assert_eq!(writer.reader().checkpoint(&log), None);
    }
    let reader = writer.reader();
    let root = BASE64_STANDARD.encode(reader.head(&log).root.0);
    script.prepare(&format!("{}\n5\n{root}\n", reader.origin(&log)));
    script.behave("[ \"$(cat)\" = \"$(cat $D/message)\" ] && cat $D/signature");
    assert_eq!(publisher.publish(1).unwrap(), 1);
    let note = reader.checkpoint(&log).unwrap().note;
    assert_eq!(verify_checkpoint(std::str::from_utf8(&note).unwrap(), &reader.vkey(&log)).unwrap().0, 5);
    drop((writer, publisher));
    assert_sound(dir.path());
    // Another key cannot take its place without a rotation.
    let stranger = Options { signer: Some(external(7)), ..small() };
    assert!(matches!(Publisher::new(&open(dir.path(), &stranger).unwrap()), Err(Error::Corrupt(_))));
}

#[test]
fn a_command_that_does_not_answer_is_ended() {
    let script = Script::new();
    script.behave("exec tail -f /dev/null");
    let path = script.dir.path().join("signer").to_str().unwrap().to_owned();
    let signer = CommandSigner::start(&["/bin/sh".to_owned(), path], Duration::from_secs(20)).unwrap();
    let impatient = CommandSigner::start(&["tail".into(), "-f".into(), "/dev/null".into()], Duration::from_millis(50));
    assert!(matches!(impatient, Err(Error::Signer(_))));
    assert_eq!(signer.public_key(), script.key.public_key());
    for missing in [vec![], vec!["/nowhere/signer".to_owned()]] {
        assert!(matches!(CommandSigner::start(&missing, Duration::from_secs(1)), Err(Error::Signer(_))));
    }
}

#[test]
fn secret_keys_are_read_in_both_forms_and_never_shown() {
    let seed = hex::encode([9; 32]);
    let key = SecretKey::parse(&format!("{seed}\n")).unwrap();
    // As `golang.org/x/mod/sumdb/note` writes it: key id of the name, then type and seed.
    let id = {
        use sha2::{Digest as _, Sha256};
        let hash = Sha256::digest([&b"log.example\n\x01"[..], &key.public_key()].concat());
        hex::encode(&hash[..4])
    };
    let typed = BASE64_STANDARD.encode([&[1], &[9; 32][..]].concat());
    let go = format!("PRIVATE+KEY+log.example+{id}+{typed}");
    assert_eq!(SecretKey::parse(&go).unwrap().public_key(), key.public_key());
    for wrong in ["", "09", "PRIVATE+KEY+", &go.replace(&id, "00000000"), &go[..go.len() - 4], &seed[1..]] {
        assert!(SecretKey::parse(wrong).is_none(), "{wrong}");
    }
    let shown = format!("{key:?} {:?}", Options { signer: Some(Arc::new(key.clone())), ..small() });
    assert!(!shown.contains(&seed) && !shown.contains(&typed[2..]) && !shown.contains("9, 9, 9"), "{shown}");
}

/// A ledger whose key was replaced twice, with what each key signed last: (size, checkpoint), the oldest first.
fn with_three_keys(dir: &Path) -> Vec<String> {
    let mut signed = Vec::new();
    for n in 0..3 {
        if n > 0 {
            rotate_key(dir, &small(), None, Arc::new(LocalFiles)).unwrap();
        }
        let mut writer = open(dir, &small()).unwrap();
        writer.append(batch(numbered(n * 2, 2))).unwrap();
        Publisher::new(&writer).unwrap().publish(1).unwrap();
        drop(writer);
        signed.push(newest_checkpoint(dir));
    }
    signed
}

#[test]
fn a_policy_and_a_proof_follow_the_chain() {
    let (dir, other, copy) = (memory_dir(), memory_dir(), memory_dir());
    let signed = with_three_keys(dir.path());
    with_three_keys(other.path());
    let (reader, foreign) = (open_reader(dir.path()).unwrap(), open_reader(other.path()).unwrap());
    let log = LogId::default_log();
    let (first, newest, chain) = (reader.first_vkey(&log), reader.vkey(&log), reader.key_chain());
    let listing = |vkeys: &[&str]| {
        let lines: String = vkeys.iter().map(|vkey| format!("log {vkey}\n")).collect();
        Some(Policy::parse(format!("{lines}quorum none\n").as_bytes()).unwrap())
    };
    let stranger = foreign.vkey(&log);
    let trust = |vkey: &str, policy, chain: &str| Trust {
        vkey: (!vkey.is_empty()).then(|| vkey.to_owned()),
        policy,
        chain: Some(chain.to_owned()),
    };
    let proof = reader.tlog_proof(&log, 1).unwrap().unwrap();
    let leaf = reader.entry(&log, 1).unwrap().unwrap().leaf;
    let good = [
        trust(&first, None, &chain),
        trust(&newest, None, &chain),
        trust("", listing(&[&first]), &chain),
        trust("", listing(&[&stranger, &first]), &chain),
        trust("", listing(&[&newest]), ""),
        trust(&first, listing(&[&first]), &chain),
        trust(&newest, listing(&[&first]), &chain),
        trust(&first, listing(&[&newest]), &chain),
    ];
    for (n, trust) in good.iter().enumerate() {
        let proved = verify_proof(&proof, &leaf, trust).unwrap_or_else(|error| panic!("{n}: {error}"));
        assert_eq!(proved.checkpoint.vkey, newest, "{n}");
    }
    let foreign_chain = foreign.key_chain();
    let bad = [
        trust(&first, None, ""),
        trust(&first, None, &foreign_chain),
        trust(&first, None, &chain[..chain.len() - 2]),
        trust(&stranger, None, &chain),
        trust("", listing(&[&first]), ""),
        trust("", listing(&[&stranger]), &chain),
        trust(&stranger, listing(&[&first]), &chain),
        trust(&first, listing(&[&stranger]), &chain),
    ];
    for (n, trust) in bad.iter().enumerate() {
        assert!(matches!(verify_proof(&proof, &leaf, trust), Err(Error::Refused(_))), "{n}");
    }
    // What each key signed stays proved for those who trust it or one before it, and is nothing to those who trust a
    // later one.
    for (n, note) in signed.iter().enumerate() {
        assert!(trust(&first, None, &chain).checkpoint(note).is_ok(), "{n}");
        assert_eq!(trust(&newest, None, &chain).checkpoint(note).is_ok(), n == 2, "{n}");
    }

    // A directory, and a copy, have the chain themselves.
    mirror(&reader, &log, copy.path()).unwrap();
    let fetch = |path: &str| read_mirror(copy.path(), path);
    let of_copy = |trust: &Trust, older: Option<&str>| {
        verify_tiles(&fetch, &TilesCheck { trust, older, resume: None }, &mut |_, _| {}).map(|verified| verified.fault)
    };
    let of_directory = |trust: &Trust, older: Option<&str>| {
        let mut verified = assert_sound(dir.path());
        verify_against(&reader, trust, older, &mut verified).map(|()| verified.fault)
    };
    let own = |policy| Trust { policy, ..Trust::default() };
    for (n, trust) in [own(listing(&[&first])), own(listing(&[&newest])), good[5].clone()].iter().enumerate() {
        assert_eq!((of_copy(trust, None).unwrap(), of_directory(trust, None).unwrap()), (None, None), "{n}");
    }
    for (n, trust) in [own(listing(&[&stranger])), bad[6].clone(), bad[7].clone()].iter().enumerate() {
        assert!(of_copy(trust, None).is_err() && of_directory(trust, None).is_err(), "{n}");
    }
    // An older part of the chain is followed further; another chain is not taken instead.
    let begun = &chain[..chain[1..].find("pedigraph key rotation 1").unwrap()];
    let by_part = trust(&first, None, begun);
    assert_eq!((of_copy(&by_part, None).unwrap(), of_directory(&by_part, None).unwrap()), (None, None));
    assert!(of_copy(&bad[1], None).is_err() && of_directory(&bad[1], None).is_err());
    for older in &signed {
        assert_eq!(of_copy(&good[0], Some(older)).unwrap(), None);
        assert_eq!(of_directory(&good[0], Some(older)).unwrap(), None);
    }
}

/// Who kept the old key goes on signing: with the very entries of the ledger, so that nothing but the key is wrong.
#[test]
fn a_replaced_key_is_refused_for_sizes_after_it() {
    let (dir, before, copy) = (memory_dir(), memory_dir(), memory_dir());
    let mut writer = open(dir.path(), &small()).unwrap();
    writer.append(batch(numbered(0, 2))).unwrap();
    drop(writer);
    copy_dir(dir.path(), before.path());
    rotate_key(dir.path(), &small(), None, Arc::new(LocalFiles)).unwrap();
    for dir in [dir.path(), before.path()] {
        let mut writer = open(dir, &small()).unwrap();
        writer.append(batch(numbered(2, 2))).unwrap();
        Publisher::new(&writer).unwrap().publish(1).unwrap();
    }
    let (by_new, by_old) = (newest_checkpoint(dir.path()), newest_checkpoint(before.path()));
    assert_eq!(by_new.split("\n\n").next(), by_old.split("\n\n").next(), "the same size and root");
    let reader = open_reader(dir.path()).unwrap();
    let log = LogId::default_log();
    let first = Trust { vkey: Some(reader.first_vkey(&log)), ..Trust::default() };
    let refused = verify_against(&reader, &first, Some(&by_old), &mut assert_sound(dir.path()));
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("replaced when the log had 2")), "{refused:?}");
    // A copy cannot say which commit had which size; but that the new key had signed before, it can.
    mirror(&reader, &log, copy.path()).unwrap();
    fs::write(copy.path().join("checkpoint"), &by_old).unwrap();
    let fetch = |path: &str| read_mirror(copy.path(), path);
    let chain = Some(reader.key_chain());
    let newest = Trust { chain, ..first };
    let check = TilesCheck { trust: &newest, older: Some(&by_new), resume: None };
    let refused = verify_tiles(&fetch, &check, &mut |_, _| {});
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.contains("had been replaced when")), "{refused:?}");
    // And so can a full check of what was signed for witnesses.
    fs::write(dir.path().join("logs/default/pending"), &by_old).unwrap();
    let fault = verify(dir.path(), &mut |_, _| {}).unwrap().fault.unwrap();
    assert!(
        fault.contains("pending: size 4 is signed by a key that was replaced when the log had 2 entries"),
        "{fault}"
    );
}
