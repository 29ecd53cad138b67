//! Changed encodings of what the ledger stores of an event, given to its decoders: nothing panics, nothing takes memory
//! that the input does not account for, and a leaf that is accepted is exactly what would be written.
//!
//! `PEDIGRAPH_TEST_MUTATIONS` sets how many per decoder, `PEDIGRAPH_TEST_SEED` repeats a run.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use bytes::Bytes;
use fastrand::Rng;
use prost::Message as _;

use crate::canonical::decode_entry;
use crate::event::{ArtifactPackaged, Component, ComponentsListed, RunFinished};
use crate::fact::{decode_chunk, encode_chunk};
use crate::wire::{Entry, Fact, Origin, Status};

/// Mutations per decoder, unless the environment says otherwise; with `./tests/run --long` a hundred times as many.
const MUTATIONS: u64 = 4_000;
/// Memory that a decoder may take: for each byte of its input, and besides. A fact of no fields has two bytes, 448 in
/// memory, and thrice that while the vector grows.
const BYTES_PER_BYTE: u64 = 1_024;
const BYTES_BESIDES: u64 = 64 << 10;

/// One to four changes; those of the lengths and field numbers of protobuf among them.
fn mutate(sample: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.usize(..3) {
        let at = random.usize(..bytes.len().max(1));
        let end = (at + 1 + random.usize(..16)).min(bytes.len());
        match random.usize(..7) {
            _ if bytes.is_empty() => bytes.push(0),
            0 => bytes[at] ^= 1 << random.usize(..8),
            1 => bytes[at] = [0, 1, 0x08, 0x0a, 0x12, 0x7f, 0x80, 0xff][random.usize(..8)],
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.insert(at, random.u8(..)),
            5 => {
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

/// `decode` gives what is written for what it read, or `None` when it refuses.
fn check(
    name: &str,
    samples: &[Vec<u8>],
    decode: impl Fn(&[u8]) -> Option<Vec<u8>>,
    is_right: impl Fn(&[u8], &[u8]) -> bool,
) {
    let seed = number("PEDIGRAPH_TEST_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let long = if std::env::var_os("PEDIGRAPH_TEST_LONG").is_some() { 100 } else { 1 };
    let count = number("PEDIGRAPH_TEST_MUTATIONS").unwrap_or(MUTATIONS * long);
    eprintln!("{name}: {count} mutations, PEDIGRAPH_TEST_SEED={seed}");
    for sample in samples {
        assert_eq!(decode(sample).as_ref(), Some(sample), "{name} reads what it writes");
    }
    let mut random = Rng::with_seed(seed);
    for n in 0..count {
        let input = mutate(&samples[random.usize(..samples.len())], &mut random);
        let mut written = None;
        let memory = allocation_counter::measure(|| written = decode(&input)).bytes_max;
        let most = BYTES_BESIDES + BYTES_PER_BYTE * input.len() as u64;
        assert!(
            memory <= most,
            "{name}, seed {seed}, mutation {n}: {memory} bytes of memory for {} bytes",
            input.len()
        );
        if let Some(written) = written {
            assert!(is_right(&written, &input), "{name}, seed {seed}, mutation {n}: {input:?} was read as {written:?}");
        }
    }
}

#[test]
fn leaves() {
    let whole = Entry {
        version: 1,
        event_id: Bytes::from_static(&[7; 16]),
        status: Status::Conflict.into(),
        r#type: "ArtifactPackaged".into(),
        tenant: "default".into(),
        source: "/ci".into(),
        id: "build-4".into(),
        subjects: vec!["sha256:11".into(), "sha256:22".into()],
        subject_count: 70,
        occurred_at: -5,
        recorded_at: 1_790_000_000_000_000_000,
        time_source: 2,
        origin: Some(Origin { kind: "kafka".into(), topic: "ci".into(), offset: 300, ..Origin::default() }),
        body_digest: Bytes::from_static(&[8; 32]),
        body_size: 4_096,
        facts_digest: Bytes::from_static(&[9; 32]),
        facts_count: 2,
        format: "cloudevents".into(),
        decoder_version: 1,
        redaction_version: 1,
        conflicts_with: Some(0),
        replay_of: Some(3),
        redaction_count: 2,
        received_digest: Bytes::from_static(&[6; 32]),
    };
    let small = Entry { version: 1, tenant: "default".into(), ..Entry::default() };
    let decode = |bytes: &[u8]| decode_entry(bytes).map(|entry| entry.encode_to_vec());
    check("leaf", &[whole.encode_to_vec(), small.encode_to_vec()], decode, |written, input| written == input);
}

/// Fields that are not known are left out of a chunk, whose digest stands in its leaf: so it is what is read that must
/// be the same when it is written.
#[test]
fn chunks_of_facts() {
    let digest = "sha256:11".to_owned();
    let component = Component { name: "left-pad".into(), ..Component::default() };
    let facts = vec![
        Fact::at(-5, ArtifactPackaged { artifact_digest: digest.clone(), ..ArtifactPackaged::default() }),
        Fact::now(RunFinished { artifact_digests: vec![digest; 3], ..RunFinished::default() }),
        Fact::now(ComponentsListed { components: vec![component; 3], ..ComponentsListed::default() }),
        Fact::default(),
    ];
    let empty_components = ComponentsListed { components: vec![Component::default(); 2_000], ..<_>::default() };
    let samples = [facts, vec![Fact::default(); 2_000], vec![Fact::now(empty_components)]];
    let decode = |bytes: &[u8]| Some(encode_chunk(decode_chunk(Bytes::copy_from_slice(bytes))?).to_vec());
    let read = |bytes: &[u8]| decode_chunk(Bytes::copy_from_slice(bytes));
    check("facts chunk", &samples.map(|facts| encode_chunk(facts).to_vec()), decode, |written, input| {
        read(written) == read(input) && decode(written).as_deref() == Some(written)
    });
}
