//! What is said to a witness and what its answers mean: C2SP tlog-witness v1.0.0, the client's side of
//! `add-checkpoint`. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::Hash;
use crate::files::storage::to_usize;
use crate::notes::note;
use crate::notes::policy::Witness;
use crate::notes::proof::HASHES_MAX;

/// Most of an answer that is read, bytes: some hundred cosignature lines.
pub const WITNESS_ANSWER_BYTES_MAX: usize = 64 << 10;
/// Digits of the largest size.
const SIZE_BYTES_MAX: usize = 20;

/// An HTTP answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body, at most [`WITNESS_ANSWER_BYTES_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Why a witness did not cosign: what an operator looks at first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Failure {
    /// No answer, or none in time.
    Unreachable,
    /// 404: it has not been told of this log.
    UnknownLog,
    /// 403: it knows no key by which the checkpoint is signed.
    Refused,
    /// Any other status.
    Status,
    /// An answer that is none: not text, not a size, no cosignature.
    Garbage,
    /// A cosignature by another key than the policy's, or of something else.
    Signature,
}

impl Failure {
    /// All kinds.
    pub const ALL: [Failure; 6] = [
        Failure::Unreachable,
        Failure::UnknownLog,
        Failure::Refused,
        Failure::Status,
        Failure::Garbage,
        Failure::Signature,
    ];

    /// The kind in one word, for a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Unreachable => "unreachable",
            Failure::UnknownLog => "unknown_log",
            Failure::Refused => "refused",
            Failure::Status => "status",
            Failure::Garbage => "garbage",
            Failure::Signature => "signature",
        }
    }
}

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// It cosigned: its line, with the newline, and the time in it.
    Cosigned { line: String, time_s: u64 },
    /// The newest size that it has cosigned, from which it wants the proof.
    At(u64),
    /// It contradicts what is right by our own tree: there are two histories of the log.
    Fork(String),
    /// It did not cosign, and why.
    Not(Failure, String),
}

/// The body of `add-checkpoint` (tlog-witness, "add-checkpoint").
pub(crate) fn request(old: u64, proof: &[Hash], note: &str) -> String {
    debug_assert!(proof.len() <= HASHES_MAX, "no tree of 64-bit size has a longer one");
    let mut text = format!("old {old}\n");
    for hash in proof {
        text.push_str(&BASE64_STANDARD.encode(hash.0));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(note);
    text
}

/// Reads the answer to a [`request`] from `old` to a checkpoint of `size`, whose proof is right.
pub(crate) fn read(witness: &Witness, note: &str, (old, size): (u64, u64), reply: &Reply) -> Heard {
    match reply.status {
        200 => cosigned(witness, note, &reply.body),
        409 => match parse_size(&reply.body) {
            Some(at) if at > size => {
                Heard::Fork(format!("it has cosigned size {at}, and this ledger has signed {size} at most"))
            }
            Some(at) if at == old => not(Failure::Garbage, "409 with the size that it was asked from"),
            Some(at) => Heard::At(at),
            None => not(Failure::Garbage, "409 without a size"),
        },
        422 => {
            Heard::Fork(format!("it has cosigned another tree: it refuses the right proof from size {old} to {size}"))
        }
        403 => not(
            Failure::Refused,
            "403: it knows no key by which the checkpoint is signed; give it the log's newest verifier key",
        ),
        404 => {
            not(Failure::UnknownLog, "404: it does not know this log; register the log's origin and verifier key there")
        }
        status => not(Failure::Status, &format!("status {status}")),
    }
}

fn not(kind: Failure, why: &str) -> Heard {
    Heard::Not(kind, why.to_owned())
}

/// The line by the witness's key among those that it sent; lines by other keys are for other clients.
fn cosigned(witness: &Witness, note: &str, body: &[u8]) -> Heard {
    let Some(lines) = std::str::from_utf8(body).ok().and_then(|text| text.strip_suffix('\n')) else {
        return not(Failure::Garbage, "200 with no lines of text");
    };
    let Some((text, _)) = note::split(note) else { return not(Failure::Garbage, "the checkpoint is no note") };
    let mut others = false;
    for line in lines.split('\n') {
        let Some(parsed) = note::parse_line(line) else {
            return not(Failure::Garbage, "200 with a line that is no signature");
        };
        if !witness.cosigner.is_named_by(&parsed) {
            others = true;
            continue;
        }
        return match witness.cosigner.verify(text, &parsed) {
            Ok(time_s) => Heard::Cosigned { line: format!("{line}\n"), time_s },
            Err(why) => Heard::Not(Failure::Signature, format!("its line {}", why.reason())),
        };
    }
    debug_assert!(others, "splitting gives at least one line");
    not(Failure::Signature, "it signed with another key than the policy's")
}

/// A decimal and a newline (409, `text/x.tlog.size`).
fn parse_size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let fits = digits.len() <= SIZE_BYTES_MAX;
    digits.parse().ok().filter(|size: &u64| fits && size.to_string() == digits)
}

/// What each witness last cosigned of a log: by its public key, size and time in seconds.
pub(crate) type Cosigned = BTreeMap<[u8; 32], (u64, u64)>;

/// The file `witnesses` of a log: a line `<public key, hex> <size> <seconds>` for each.
pub(crate) fn encode_cosigned(cosigned: &Cosigned) -> String {
    cosigned.iter().map(|(key, (size, time_s))| format!("{} {size} {time_s}\n", hex::encode(key))).collect()
}

/// Only a hint where to begin: what is malformed is left out, and its witness says where it is.
pub(crate) fn parse_cosigned(bytes: &[u8]) -> Cosigned {
    let line = |line: &str| {
        let mut fields = line.split(' ');
        let (key, size, time_s) = (fields.next()?, fields.next()?, fields.next()?);
        Some((<[u8; 32]>::try_from(hex::decode(key).ok()?).ok()?, (size.parse().ok()?, time_s.parse().ok()?)))
    };
    let most = bytes.len().min(to_usize(crate::POLICY_BYTES_MAX as u64));
    String::from_utf8_lossy(&bytes[..most]).lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::cosign::tests::{Signer, cosignature, signer};
    use crate::notes::signer::sign_note;
    use crate::{Policy, SecretKey};
    use proptest::prelude::*;

    fn witness(signer: &Signer) -> Witness {
        let policy = format!("witness W {} http://w.example\nquorum W\n", signer.vkey);
        Policy::parse(policy.as_bytes()).unwrap().witnesses()[0].clone()
    }

    fn note() -> (String, String) {
        let body = note::body("a.example/log", 5, &crate::tree::merkle::empty_root());
        let note = sign_note(&body, "a.example/log", &SecretKey::parse(&hex::encode([1; 32])).unwrap()).unwrap();
        (body, note)
    }

    fn answer(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply { status, body: body.into() }
    }

    #[test]
    fn a_request_is_as_the_specification_writes_it() {
        let (_, note) = note();
        let hashes = [Hash([0; 32]), Hash([255; 32])];
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let ones = "//////////////////////////////////////////8=";
        assert_eq!(request(3, &hashes, &note), format!("old 3\n{zeros}\n{ones}\n\n{note}"));
        assert_eq!(request(0, &[], &note), format!("old 0\n\n{note}"));
    }

    #[test]
    fn what_each_answer_means() {
        let (own, other) = (signer("w.example", 3), signer("w.example", 4));
        let (body, note) = note();
        let line = cosignature(&own, &body, 7);
        let of_other_tree = cosignature(&own, &body.replace("\n5\n", "\n6\n"), 7);
        let by_other = cosignature(&other, &body, 7);
        let good = Heard::Cosigned { line: line.clone(), time_s: 7 };
        let heard = |reply: Reply| read(&witness(&own), &note, (2, 5), &reply);
        assert_eq!(heard(answer(200, line.clone())), good);
        assert_eq!(heard(answer(200, format!("{by_other}{line}"))), good);
        assert_eq!(heard(answer(409, "3\n")), Heard::At(3));
        assert_eq!(heard(answer(409, "0\n")), Heard::At(0));
        assert_eq!(heard(answer(409, "5\n")), Heard::At(5));
        assert!(matches!(heard(answer(409, "6\n")), Heard::Fork(why) if why.contains("size 6")));
        assert!(matches!(heard(answer(422, "")), Heard::Fork(why) if why.contains("from size 2 to 5")));
        let table = [
            (answer(200, ""), Failure::Garbage),
            (answer(200, "\n"), Failure::Garbage),
            (answer(200, "<html>\n"), Failure::Garbage),
            (answer(200, vec![0xff; 30]), Failure::Garbage),
            (answer(200, line.trim_end()), Failure::Garbage),
            (answer(200, by_other), Failure::Signature),
            (answer(200, of_other_tree), Failure::Signature),
            (answer(409, "2\n"), Failure::Garbage),
            (answer(409, "03\n"), Failure::Garbage),
            (answer(409, "-1\n"), Failure::Garbage),
            (answer(409, "three"), Failure::Garbage),
            (answer(409, "99999999999999999999\n"), Failure::Garbage),
            (answer(403, ""), Failure::Refused),
            (answer(404, ""), Failure::UnknownLog),
            (answer(400, ""), Failure::Status),
            (answer(500, line), Failure::Status),
            (answer(301, ""), Failure::Status),
        ];
        for (reply, kind) in table {
            assert!(matches!(heard(reply.clone()), Heard::Not(found, _) if found == kind), "{reply:?}");
        }
    }

    #[test]
    fn the_hint_survives_its_file_and_no_garbage() {
        let cosigned = Cosigned::from([([1; 32], (5, 7)), ([2; 32], (u64::MAX, 0))]);
        let text = encode_cosigned(&cosigned);
        assert_eq!(parse_cosigned(text.as_bytes()), cosigned);
        assert_eq!(parse_cosigned(format!("what 1 2\n{text}aa 1\n").as_bytes()), cosigned);
    }

    proptest! {
        #[test]
        fn hostile_answers_never_panic(status in prop_oneof![Just(200u16), Just(409), any::<u16>()], body in proptest::collection::vec(any::<u8>(), 0..200), text in "(\u{2014} w.example [A-Za-z0-9+/=]{0,110}\n){0,3}") {
            let (own, (_, note)) = (witness(&signer("w.example", 3)), note());
            for body in [body.clone(), text.into_bytes()] {
                let heard = read(&own, &note, (2, 5), &Reply { status, body });
                let cosigned = matches!(heard, Heard::Cosigned { .. });
                prop_assert!(!cosigned);
            }
            parse_cosigned(&body);
        }
    }
}
