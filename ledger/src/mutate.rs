//! Changed encodings of everything that is stored, given to its decoder: nothing panics, nothing takes memory that the
//! input does not account for, and what is accepted is exactly what would be written.
//!
//! `PEDIGRAPH_TEST_MUTATIONS` sets how many per decoder, `PEDIGRAPH_TEST_SEED` repeats a run.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use fastrand::Rng;

use crate::bodies::erasing;
use crate::copy::backup::Seen;
use crate::derived::deriver;
use crate::derived::index::{self, CommitPlace, decode_commit, encode_commit};
use crate::journal::frame::{self, CommitFrame, Found, HeaderFrame, Kind, LogVector};
use crate::journal::keys::Keys;
use crate::journal::meta::{self, Meta};
use crate::notes::{chain, cosign, note, proof, signer};
use crate::publish::{keys, witness};
use crate::read::lookup;
use crate::tree::merkle::{Edge, digest};
use crate::tree::tile::{self, Tile};
use crate::verify::{resume, state};
use crate::{
    Batch, Content, Hash, INLINE_BYTES_MAX, LogId, NewEntry, Options, Part, PartRef, Policy, Reader, SecretKey,
    Signer as _, open, open_reader,
};

/// Mutations per decoder, unless the environment says otherwise; with `./tests/run --long` a hundred times as many.
const MUTATIONS: u64 = 4_000;
/// Memory that a decoder may take: for each byte of its input, and besides.
const BYTES_PER_BYTE: u64 = 256;
const BYTES_BESIDES: u64 = 64 << 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One to four changes of the kinds that disks, editors and attackers make.
fn mutate(sample: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.usize(..3) {
        let at = random.usize(..bytes.len().max(1));
        let end = (at + 1 + random.usize(..16)).min(bytes.len());
        match random.usize(..8) {
            _ if bytes.is_empty() => bytes.push(0),
            0 => bytes[at] ^= 1 << random.usize(..8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'0'][random.usize(..8)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.insert(at, random.u8(..)),
            5 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => bytes[at..end].fill(0xff),
            _ => {
                let other = random.usize(..bytes.len().max(1));
                bytes.swap(at, other);
            }
        }
    }
    bytes
}

/// A seed, and how many mutations to make of it.
fn series(name: &str) -> (u64, u64) {
    let seed = number("PEDIGRAPH_TEST_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let long = if std::env::var_os("PEDIGRAPH_TEST_LONG").is_some() { 100 } else { 1 };
    let count = number("PEDIGRAPH_TEST_MUTATIONS").unwrap_or(MUTATIONS * long);
    eprintln!("{name}: {count} mutations, PEDIGRAPH_TEST_SEED={seed}");
    (seed, count)
}

/// `decode` gives what is written for what it read, or `None` when it refuses.
fn check(name: &str, samples: &[Vec<u8>], decode: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let (seed, count) = series(name);
    for sample in samples {
        assert_eq!(decode(sample).as_ref(), Some(sample), "{name} reads what it writes");
    }
    let mut random = Rng::with_seed(seed);
    for n in 0..count {
        let input = mutate(&samples[random.usize(..samples.len())], &mut random);
        let mut written = None;
        let memory = allocation_counter::measure(|| written = decode(&input)).bytes_max;
        let most = BYTES_BESIDES + BYTES_PER_BYTE * input.len() as u64;
        assert!(memory <= most, "{name}, seed {seed}, mutation {n}: {memory} bytes of memory for {input:?}");
        if let Some(written) = written {
            assert_eq!(written, input, "{name}, seed {seed}, mutation {n}: accepted, and it is not what is written");
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn hash(n: u8) -> Hash {
    digest(&[n])
}

fn part(n: u8, at: Option<u64>, content: Content) -> PartRef {
    PartRef { digest: hash(n), size: n.into(), at, content, bytes: None }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::parse(&hex::encode([seed; 32])).unwrap()
}

fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

fn commit() -> CommitFrame {
    CommitFrame {
        seq: 7,
        previous: hash(1),
        epoch: 2,
        time_ns: -5,
        entries: 3,
        zero_sectors: 1,
        refs: hash(2),
        heads: vec![(LogId::default_log(), 9, hash(3)), (LogId::new("b").unwrap(), 1, hash(4))],
        positions: vec![(Bytes::from_static(b"topic/0"), 12)],
        duplicates: vec![(LogId::default_log(), "ci".into(), 4)],
        erasures: vec![(LogId::default_log(), 3)],
    }
}

fn entry_payload() -> Vec<u8> {
    let facts = [part(1, Some(70), Content::Facts), part(2, None, Content::Facts)];
    written(|out| {
        frame::put_entry(out, &LogId::default_log(), 5, b"a leaf");
        frame::put_refs(out, &facts, Some(&part(3, Some(90), Content::Body)));
    })
}

#[test]
fn frames() {
    let salt = 99;
    let frames = [
        written(|out| frame::write(out, salt, Kind::Body, |out| out.extend_from_slice(b"a body"))),
        written(|out| frame::write(out, salt, Kind::Commit, |out| commit().put(out))),
    ];
    check("frame", &frames, |bytes| match frame::read(bytes, salt) {
        Found::Frame { kind, payload, bytes: whole } if whole == bytes.len() => {
            Some(written(|out| frame::write(out, salt, kind, |out| out.extend_from_slice(payload))))
        }
        Found::Frame { .. } | Found::Nothing | Found::Short | Found::Bad => None,
    });
    check("entry frame", &[entry_payload()], |bytes| {
        let entry = frame::take_entry(bytes)?;
        let log = LogId::new(entry.log)?;
        Some(written(|out| {
            frame::put_entry(out, &log, entry.index, entry.leaf);
            frame::put_refs(out, &entry.facts, entry.body.as_ref());
        }))
    });
    check("commit frame", &[written(|out| commit().put(out))], |bytes| {
        CommitFrame::take(bytes).map(|frame| written(|out| frame.put(out)))
    });
}

#[test]
fn headers_and_places() {
    let mut edge = Edge::default();
    for n in 0..11 {
        edge.push(hash(n));
    }
    let header = HeaderFrame {
        uuid: [4; 16],
        first_seq: 3,
        base: 4096,
        capacity: 8192,
        previous: hash(5),
        epoch: 1,
        time_ns: 6,
        logs: vec![(LogId::default_log(), LogVector { edge, time_ns: 5 })],
        positions: commit().positions,
    };
    check("header frame", &[written(|out| header.put(out))], |bytes| {
        HeaderFrame::take(bytes).map(|header| written(|out| header.put(out)))
    });
    let place = CommitPlace { at: 4096, bytes: 700, time_ns: 17 };
    check("place of a commit", &[encode_commit(7, &place).to_vec()], |bytes| {
        // The file is read in records of this length.
        let record: &[u8; 24] = bytes.try_into().ok()?;
        decode_commit(7, record).map(|place| encode_commit(7, &place).to_vec())
    });
    check("places of entries", &[places(&[16, 700, 4096, u64::MAX])], |bytes| {
        // Any number may stand there: whether it is right is for the entry to say.
        let whole = bytes.len().is_multiple_of(8);
        let read: Vec<_> = index::decode_positions(bytes).into_iter().map(Option::unwrap_or_default).collect();
        whole.then(|| places(&read))
    });
    let synced = [b"0\n".to_vec(), b"18446744073709551615\n".to_vec()];
    check("what is derived and synced", &synced, |bytes| {
        deriver::decode_synced(text(bytes)?).map(|seq| deriver::encode_synced(seq).into_bytes())
    });
}

fn places(at: &[u64]) -> Vec<u8> {
    written(|out| index::encode_positions(at, out))
}

/// A ledger of three segments whose bodies are all lengths of a hostile frame, and how many entries are not in the
/// newest segment, which a reader has in memory.
fn ledger_of_segments(dir: &std::path::Path, segment_bytes: u64, body: &[u8]) -> (Reader, u64) {
    let mut ledger = open(dir, &Options { segment_bytes, ..Options::default() }).unwrap();
    let (mut size, mut older) = (0, 0);
    while ledger.reader().0.durable().segments.len() < 3 {
        older = size;
        let leaf = Bytes::from(format!("leaf {size}"));
        let body = Some(Part::Inline(Bytes::copy_from_slice(body)));
        let entry = NewEntry { log: LogId::default_log(), leaf, facts: Vec::new(), body };
        ledger.append(Batch { entries: vec![entry], ..Batch::default() }).unwrap();
        size += 1;
    }
    drop(ledger);
    (open_reader(dir).unwrap(), older)
}

#[test]
fn wrong_places_of_entries() {
    const SEGMENT_BYTES: u64 = 64 << 10;
    let (dir, log) = (tempfile::tempdir().unwrap(), LogId::default_log());
    let (reader, older) = ledger_of_segments(dir.path(), SEGMENT_BYTES, &0x7000_u32.to_le_bytes().repeat(1_500));
    let shared = &reader.0;
    let path = index::entries_path(dir.path(), &log);
    let right = std::fs::read(&path).unwrap();
    let of = |index: u64| index::decode_positions(&right)[usize::try_from(index).unwrap()].unwrap();
    let (seed, count) = series("wrong place of an entry");
    let mut random = Rng::with_seed(seed);
    for n in 0..count {
        let mut input = mutate(&right, &mut random);
        let index = random.u64(..older);
        let hostile = [of(random.u64(..older)), of(index) + random.u64(..7_000), 3 * SEGMENT_BYTES, u64::MAX, 1];
        let at = usize::try_from(index).unwrap() * 8;
        if n % 2 == 0 && at + 8 <= input.len() {
            input[at..at + 8].copy_from_slice(&hostile[random.usize(..hostile.len())].to_le_bytes());
        }
        std::fs::write(&path, &input).unwrap();
        // One read of neighbours for some of single ones: each wrong place is a scan.
        let count = if n % 8 == 0 { 1 + random.u64(..older - index) } else { 1 };
        let mut found = Vec::new();
        let memory = allocation_counter::measure(|| {
            found.push(lookup::entry(shared, &log, index).unwrap().leaf);
            found.extend(lookup::leaves(shared, &log, index, count).unwrap());
        });
        let wanted = [index].into_iter().chain(index..index + count).map(|index| format!("leaf {index}").into_bytes());
        assert!(found.iter().eq(wanted.collect::<Vec<_>>().iter()), "seed {seed}, mutation {n}: {found:?}");
        assert!(memory.bytes_max < 8 * SEGMENT_BYTES, "seed {seed}, mutation {n}: {} bytes", memory.bytes_max);
    }
}

#[test]
fn a_wrong_place_takes_no_more_memory_than_a_frame_may_have() {
    const LENGTH: u32 = 6 << 20;
    let (dir, log) = (tempfile::tempdir().unwrap(), LogId::default_log());
    let body = LENGTH.to_le_bytes().repeat(INLINE_BYTES_MAX / 4);
    let (reader, older) = ledger_of_segments(dir.path(), 8 << 20, &body);
    let shared = &reader.0;
    let second = shared.durable().segments[1];
    let index = (0..older).find(|index| index::indexed_entry(dir.path(), &log, *index) > Some(second.base)).unwrap();
    let entry = lookup::entry(shared, &log, index).unwrap();
    let path = index::entries_path(dir.path(), &log);
    let mut input = std::fs::read(&path).unwrap();
    let wrong = entry.body.unwrap().at.unwrap() + frame::HEAD_BYTES as u64;
    assert!(wrong + u64::from(LENGTH) < second.end(), "so that all of it could be read");
    let at = usize::try_from(index).unwrap() * 8;
    input[at..at + 8].copy_from_slice(&wrong.to_le_bytes());
    std::fs::write(&path, &input).unwrap();
    let mut found = None;
    let memory = allocation_counter::measure(|| found = Some(lookup::entry(shared, &log, index).unwrap().leaf));
    assert_eq!(found, Some(entry.leaf));
    assert!(memory.bytes_max < u64::from(LENGTH) / 2, "{} bytes", memory.bytes_max);
}

#[test]
fn tiles_bundles_and_their_paths() {
    let hashes: Vec<_> = (0..=255).map(hash).collect();
    check("tile", &[tile::encode_hashes(&hashes)], |bytes| {
        // Any 256 hashes are a tile: whether they are the right ones is for the root to say.
        tile::decode_full(bytes).map(|hashes| tile::encode_hashes(&hashes))
    });
    let leaves: [&[u8]; 3] = [b"first", b"", &[7; 300]];
    let bundle = |leaves: &[&[u8]]| written(|out| leaves.iter().for_each(|leaf| tile::put_bundled(out, leaf)));
    check("bundle", &[bundle(&leaves)], |bytes| tile::split_bundle(bytes, 3).map(|leaves| bundle(&leaves)));
    let paths = ["tile/0/000", "tile/2/x001/x234/067.p/255", "tile/entries/x001/002.p/1", "tile/entries/999"];
    check("path of a tile", &paths.map(|path| path.as_bytes().to_vec()), |bytes| {
        Tile::parse(text(bytes)?).map(|tile| tile.path().into_bytes())
    });
}

#[test]
fn notes_checkpoints_cosignatures_and_proofs() {
    let body = note::body("test.example/a", 11, &hash(1));
    let witness = cosign::tests::signer("w.example", 3);
    let signed =
        signer::sign_note(&body, "test.example/a", &key(1)).unwrap() + &cosign::tests::cosignature(&witness, &body, 7);
    check("signed note", &[signed.clone().into_bytes()], |bytes| {
        let (text, lines) = note::split(text(bytes)?)?;
        let line = |line: &note::Line<'_>| format!("\u{2014} {} {}\n", line.name, BASE64_STANDARD.encode(&line.bytes));
        Some(format!("{text}\n{}", lines.iter().map(line).collect::<String>()).into_bytes())
    });
    check("checkpoint", &[body.into_bytes()], |bytes| {
        let stated = text(bytes)?;
        let (origin, size, root) = note::parse_body(stated)?;
        // Extension lines are allowed and mean nothing here.
        let own = note::body(origin, size, &root);
        Some([own.as_bytes(), stated.strip_prefix(&own)?.as_bytes()].concat())
    });
    let vkey = note::vkey("test.example/a", &key(1).public_key());
    check("verifier key", &[vkey.clone().into_bytes()], |bytes| {
        note::parse_vkey(text(bytes)?).map(|(name, key)| note::vkey(name, &key).into_bytes())
    });
    let cosigner = cosign::Cosigner::parse(&witness.vkey).unwrap();
    check("cosignature", &[signed.clone().into_bytes()], |bytes| {
        // Other lines may change; the one of the witness and the text stand.
        let accepted = cosign::time_of(text(bytes)?, &cosigner).ok()??;
        (accepted == 7).then(|| bytes.to_vec())
    });
    let hashes: String = (0..4).map(|n| format!("{}\n", BASE64_STANDARD.encode(hash(n).0))).collect();
    let proof = format!("c2sp.org/tlog-proof@v1\nindex 5\n{hashes}\n{signed}");
    check("proof", &[proof.into_bytes()], |bytes| {
        let given = text(bytes)?;
        let proof::Parts { index, hashes, checkpoint } = proof::parse(given)?;
        if given.contains("\nextra ") {
            return Some(bytes.to_vec());
        }
        let hashes: String = hashes.iter().map(|hash| format!("{}\n", BASE64_STANDARD.encode(hash.0))).collect();
        Some(format!("c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{checkpoint}").into_bytes())
    });
    let policy = format!("log {vkey}\nwitness w1 {}\ngroup all 1 w1\nquorum all\n", witness.vkey);
    // Blanks and comments are free: what is accepted is not one spelling.
    check("policy", &[policy.into_bytes()], |bytes| Policy::parse(bytes).ok().map(|_| bytes.to_vec()));
}

#[test]
fn descriptions_keys_and_erasures() {
    let keys = Keys::new(key(1).public_key());
    let name = "test.example/a".to_owned();
    let public_key = key(1).public_key();
    let described = Meta { uuid: uuid::Uuid::nil(), name, segment_bytes: 65_536, salt: 9, public_key, keys };
    check("description of a ledger", &[described.text().into_bytes()], |bytes| {
        meta::parse(text(bytes)?).map(|meta| meta.text().into_bytes())
    });
    check("chain of keys", &[chain(&described).into_bytes()], |bytes| {
        let chain = chain::parse_chain(text(bytes)?, &described.name).ok()?;
        let notes: Vec<_> = chain.into_iter().map(|(_, rotation)| rotation.note).collect();
        Some(notes.join("\n").into_bytes())
    });
    let secret = format!("pedigraph ledger key 1 ed25519 {}\n", hex::encode([7; 32]));
    check("secret key", &[secret.into_bytes()], |bytes| {
        // Hex digits of either case and blanks around them are read.
        keys::parse_key(bytes).map(|_| bytes.to_vec())
    });
    let targets = [erasing::Target::Frame { at: 70, bytes: 5 }, erasing::Target::Blob(hash(1))];
    let copied = b"pedigraph copied 1\n0 1790000000123456789\n512 340282366920938463463374607431768211455\n";
    check("what a copy holds", &[copied.to_vec()], |bytes| Seen::parse(bytes).map(|seen| seen.text().into_bytes()));
    check("what is being erased", &[erasing::encode(&targets, 9).into_bytes()], |bytes| {
        erasing::decode(text(bytes)?, 9).map(|targets| erasing::encode(&targets, 9).into_bytes())
    });
}

/// Without the line with the checksum, so that what is changed reaches the decoder.
fn unsealed(text: &str) -> Vec<u8> {
    text.as_bytes()[..text.rfind("checksum ").unwrap()].to_vec()
}

#[test]
fn states_of_interrupted_checks() {
    let again = |bytes: &[u8], again: fn(&str) -> Option<String>| {
        let written = again(&state::sealed(text(bytes)?.to_owned()))?;
        Some(unsealed(&written))
    };
    check("state of a check of a copy", &[unsealed(&state::tests::sample_text())], |bytes| {
        again(bytes, state::tests::written_again)
    });
    check("state of a check of a directory", &[unsealed(&resume::tests::sample_text())], |bytes| {
        again(bytes, resume::tests::written_again)
    });
}

#[test]
fn what_witnesses_answer() {
    let body = note::body("test.example/a", 11, &hash(1));
    let signed = signer::sign_note(&body, "test.example/a", &key(1)).unwrap();
    let signer = cosign::tests::signer("w.example", 3);
    let policy = format!("witness w1 {} http://w.example\nquorum w1\n", signer.vkey);
    let asked = &Policy::parse(policy.as_bytes()).unwrap().witnesses()[0].clone();
    let heard = |status: u16, body: &[u8]| {
        witness::read(asked, &signed, (5, 11), &witness::Reply { status, body: body.to_vec() })
    };
    let line = cosign::tests::cosignature(&signer, &body, 7).into_bytes();
    check("cosignature that is answered", &[line], |bytes| match heard(200, bytes) {
        // Lines by others may stand beside it; the one that counts is the witness's, of this checkpoint.
        witness::Heard::Cosigned { line, time_s: 7 } if text(bytes)?.contains(&line) => Some(bytes.to_vec()),
        witness::Heard::Cosigned { .. } => panic!("a cosignature that the witness did not make"),
        witness::Heard::At(_) | witness::Heard::Fork(_) | witness::Heard::Not(..) => None,
    });
    check("size that is answered", &[b"8\n".to_vec(), b"18446744073709551615\n".to_vec()], |bytes| {
        match heard(409, bytes) {
            witness::Heard::At(_) | witness::Heard::Fork(_) => Some(bytes.to_vec()),
            witness::Heard::Cosigned { .. } | witness::Heard::Not(..) => None,
        }
    });
    let cosigned = witness::encode_cosigned(&[([1; 32], (5, 6)), ([2; 32], (7, 8))].into());
    check("what witnesses cosigned last", &[cosigned.into_bytes()], |bytes| {
        // A hint: lines that cannot be read are left out.
        (witness::parse_cosigned(bytes).len() <= bytes.len() / 64).then(|| bytes.to_vec())
    });
}

fn chain(meta: &Meta) -> String {
    let rotation = |sequence: u8| {
        let (old, new) = (key(sequence), key(sequence + 1));
        let rotation = chain::Rotation {
            sequence: sequence.into(),
            commits: 4,
            old: old.public_key(),
            new: new.public_key(),
            note: String::new(),
        };
        chain::encode((&meta.uuid.to_string(), &meta.name), &rotation, &old, &new).unwrap()
    };
    format!("{}\n{}", rotation(1), rotation(2))
}
