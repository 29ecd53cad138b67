//! Trust policies: C2SP tlog-policy. Which logs, which witnesses, and which of them must have cosigned. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::notes::chain;
use crate::notes::cosign::{self, Cosignature, Cosigner};
use crate::notes::note::{self, ED25519, Key};
use crate::{Error, Hash};

/// Largest policy file, bytes.
pub const POLICY_BYTES_MAX: usize = 1 << 20;
/// Most logs, most witnesses and most groups of a policy, each (the specification asks for at least 32).
pub const POLICY_LINES_MAX: usize = 256;

/// A parsed policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<Witness>,
    /// Witnesses and groups in the order of their lines: members come before their group.
    rules: Vec<Rule>,
    quorum: Option<usize>,
}

/// A log that a policy accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyLog {
    /// Its verifier key; the key's name is the origin.
    pub vkey: String,
    /// Where it is.
    pub url: Option<String>,
}

/// A witness that a policy knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// Its name in the policy.
    pub name: String,
    /// Its submission prefix.
    pub url: Option<String>,
    pub(crate) cosigner: Cosigner,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Rule {
    /// By its number.
    Witness(usize),
    /// At least `threshold` of the members, which are earlier rules.
    Group { threshold: usize, members: Vec<usize> },
}

impl Policy {
    /// Parses a policy file.
    ///
    /// # Errors
    /// [`Error::Refused`] with the line's number and what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Policy, Error> {
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(Error::Refused(format!("policy has more than {POLICY_BYTES_MAX} bytes")));
        }
        let mut parser = Parser::default();
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            parser.line(line).map_err(|why| Error::Refused(format!("policy line {number}: {why}")))?;
        }
        parser.finish().map_err(|why| Error::Refused(format!("policy: {why}")))
    }

    /// The logs that it accepts; may be none when the log is known from elsewhere.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The witnesses that it knows.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether a set of witnesses (by their number in [`Policy::witnesses`]) is a quorum.
    pub fn is_quorum(&self, cosigned: &BTreeSet<usize>) -> bool {
        let mut holds: Vec<bool> = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            holds.push(match rule {
                Rule::Witness(number) => cosigned.contains(number),
                Rule::Group { threshold, members } => {
                    members.iter().filter(|member| holds[**member]).count() >= *threshold
                }
            });
        }
        self.quorum.is_none_or(|quorum| holds[quorum])
    }

    /// The valid cosignatures of a checkpoint whose log signature the caller has checked.
    ///
    /// # Errors
    /// [`Error::Refused`] when they are no quorum, or a line names a witness's key and is not by it.
    pub fn cosignatures(&self, checkpoint: &str) -> Result<Vec<Cosignature>, Error> {
        let (mut by, mut numbers) = (Vec::new(), BTreeSet::new());
        for (number, witness) in self.witnesses.iter().enumerate() {
            if let Some(time_s) = cosign::time_of(checkpoint, &witness.cosigner)? {
                by.push(Cosignature { witness: witness.name.clone(), time_s });
                numbers.insert(number);
            }
        }
        if self.is_quorum(&numbers) {
            return Ok(by);
        }
        let names: Vec<_> = by.iter().map(|cosignature| cosignature.witness.as_str()).collect();
        let found = if names.is_empty() { "no witness".to_owned() } else { names.join(", ") };
        Err(Error::Refused(format!("the policy's quorum is not reached: the checkpoint is cosigned by {found}")))
    }
}

/// Whom a verifier believes: a log's verifier key, a policy, or both.
#[derive(Clone, Default, Debug)]
pub struct Trust {
    /// The key that must have signed.
    pub vkey: Option<String>,
    /// The policy that the checkpoint must satisfy; its logs are accepted when no key is given.
    pub policy: Option<Policy>,
    /// The chain of keys (a ledger's file `keys`) by which a key that is accepted leads to those that replaced it,
    /// which are accepted too.
    pub chain: Option<String>,
}

/// A checkpoint that the trust accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trusted {
    /// The key that signed it.
    pub vkey: String,
    /// The log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
    /// Who cosigned it; empty without a policy.
    pub cosignatures: Vec<Cosignature>,
}

impl Trust {
    /// Checks a checkpoint: signed by an accepted key of its origin, cosigned as the policy demands.
    ///
    /// # Errors
    /// [`Error::Refused`] says what is not so.
    pub fn checkpoint(&self, checkpoint: &str) -> Result<Trusted, Error> {
        let mut trusted = self.signed(checkpoint)?;
        if let Some(policy) = &self.policy {
            trusted.cosignatures = policy.cosignatures(checkpoint)?;
        }
        Ok(trusted)
    }

    /// Checks the log's signature only: of an older checkpoint, which may be from before there were witnesses.
    ///
    /// # Errors
    /// As [`Trust::checkpoint`].
    pub fn signed(&self, checkpoint: &str) -> Result<Trusted, Error> {
        let origin = checkpoint.split('\n').next().unwrap_or_default();
        let mut fault =
            Error::Refused(format!("no key of the log {origin:?} is given, by --vkey or by a policy's log line"));
        for vkey in self.keys(origin)? {
            match note::verify_checkpoint(checkpoint, &vkey) {
                Ok((size, root)) => {
                    return Ok(Trusted { vkey, origin: origin.to_owned(), size, root, cosignatures: Vec::new() });
                }
                Err(error) => fault = error,
            }
        }
        Err(fault)
    }

    /// The keys that may have signed for an origin.
    fn keys(&self, origin: &str) -> Result<Vec<String>, Error> {
        let logs = self.policy.as_ref().map_or(&[][..], Policy::logs);
        let listed: Vec<_> = logs.iter().flat_map(|log| self.leads_to(&log.vkey)).collect();
        let Some(vkey) = &self.vkey else {
            let of_origin = |key: &String| key.split_once('+').is_some_and(|(name, _)| name == origin);
            return Ok(listed.into_iter().filter(of_origin).collect());
        };
        let mut keys = self.leads_to(vkey);
        keys.retain(|key| logs.is_empty() || listed.contains(key));
        if keys.is_empty() {
            return Err(Error::Refused("the policy does not list the log's verifier key that is given".into()));
        }
        Ok(keys)
    }

    /// A key and those that replaced it. A policy may list logs of several ledgers: what is no chain from this key says
    /// nothing.
    fn leads_to(&self, vkey: &str) -> Vec<String> {
        let chain = self.chain.as_deref().unwrap_or_default();
        chain::key_successors(chain, vkey).unwrap_or_else(|_| vec![vkey.to_owned()])
    }
}

#[derive(Default)]
struct Parser<'a> {
    logs: Vec<PolicyLog>,
    log_keys: BTreeSet<[u8; 32]>,
    witnesses: Vec<Witness>,
    rules: Vec<Rule>,
    /// Names are octets: nothing here depends on their encoding.
    names: BTreeMap<&'a [u8], usize>,
    /// Names that are a member of some group.
    members: BTreeSet<&'a [u8]>,
    groups: usize,
    quorum: Option<Option<usize>>,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: &'a [u8]) -> Result<(), String> {
        if let Some(byte) = line.iter().find(|byte| (**byte < 0x20 && **byte != b'\t') || **byte == 0x7f) {
            return Err(format!("control character 0x{byte:02x}"));
        }
        let items: Vec<_> = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|item| !item.is_empty()).collect();
        match &items[..] {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", vkey, url @ ..] => self.log(vkey, url),
            [b"witness", name, vkey, url @ ..] => self.witness(name, vkey, url),
            [b"group", name, threshold, members @ ..] => self.group(name, threshold, members),
            [b"quorum", name] => self.quorum(name),
            _ => Err("not a log, witness, group or quorum line".into()),
        }
    }

    fn log(&mut self, vkey: &[u8], url: &[&[u8]]) -> Result<(), String> {
        let text = std::str::from_utf8(vkey).map_err(|_| "the key is not UTF-8")?;
        let key = Key::parse(text, ED25519).ok_or("not the verifier key of a log: Ed25519, type 0x01")?;
        if !self.log_keys.insert(*key.key.as_bytes()) {
            return Err("this log's key stands twice".into());
        }
        at_most(self.logs.len(), "logs")?;
        self.logs.push(PolicyLog { vkey: text.to_owned(), url: one_url(url)? });
        Ok(())
    }

    fn witness(&mut self, name: &'a [u8], vkey: &[u8], url: &[&[u8]]) -> Result<(), String> {
        let key = std::str::from_utf8(vkey).ok().and_then(Cosigner::parse);
        let cosigner = key.ok_or(
            "not the verifier key of a witness: Ed25519 cosignature/v1, type 0x04; other types are not supported",
        )?;
        if self.witnesses.iter().any(|other| other.cosigner.public_key() == cosigner.public_key()) {
            return Err("this witness's key stands twice".into());
        }
        at_most(self.witnesses.len(), "witnesses")?;
        self.define(name, Rule::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: lossy(name), url: one_url(url)?, cosigner });
        Ok(())
    }

    fn group(&mut self, name: &'a [u8], threshold: &[u8], members: &[&'a [u8]]) -> Result<(), String> {
        at_most(self.groups, "groups")?;
        let mut numbers = Vec::new();
        for member in members {
            let number = self.names.get(member).ok_or_else(|| format!("{} is not defined above", lossy(member)))?;
            if !self.members.insert(member) {
                return Err(format!("{} is a member of a group twice", lossy(member)));
            }
            numbers.push(*number);
        }
        let threshold = match threshold {
            b"all" => Some(numbers.len()),
            b"any" => Some(1),
            number => decimal(number),
        };
        let threshold = threshold.filter(|k| (1..=numbers.len()).contains(k));
        let threshold = threshold.ok_or("the threshold is all, any, or a number from 1 to that of the members")?;
        self.groups += 1;
        self.define(name, Rule::Group { threshold, members: numbers })
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("there is a quorum line already".into());
        }
        let number = self.names.get(name).copied();
        if number.is_none() && name != b"none" {
            return Err(format!("{} is not defined above", lossy(name)));
        }
        self.quorum = Some(number);
        Ok(())
    }

    fn define(&mut self, name: &'a [u8], rule: Rule) -> Result<(), String> {
        if name == b"none" || self.names.insert(name, self.rules.len()).is_some() {
            return Err(format!("the name {} is taken", lossy(name)));
        }
        self.rules.push(rule);
        Ok(())
    }

    fn finish(self) -> Result<Policy, String> {
        let quorum = self.quorum.ok_or("there is no quorum line; `quorum none` asks for no witness")?;
        Ok(Policy { logs: self.logs, witnesses: self.witnesses, rules: self.rules, quorum })
    }
}

fn at_most(count: usize, what: &str) -> Result<(), String> {
    match count < POLICY_LINES_MAX {
        true => Ok(()),
        false => Err(format!("more than {POLICY_LINES_MAX} {what}")),
    }
}

fn one_url(url: &[&[u8]]) -> Result<Option<String>, String> {
    match url {
        [] => Ok(None),
        [url] => Ok(Some(lossy(url))),
        _ => Err("more than one URL".into()),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A decimal without leading zeros or sign.
fn decimal(bytes: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.parse().ok().filter(|number: &usize| number.to_string() == text)
}

/// Checks something by the trusted keys, or else by those that they lead to: `chain` gets the rotations where there are
/// any. A chain that is given is followed further, but not left for another: then an old key has introduced two.
///
/// # Errors
/// Those of `check` for the trusted keys, and of `chain`; [`Error::Refused`] for another chain than the one that is
/// given.
pub fn following<T>(
    trust: &Trust,
    chain: impl FnOnce() -> Result<Option<Vec<u8>>, Error>,
    check: impl Fn(&Trust) -> Result<T, Error>,
) -> Result<T, Error> {
    let why = match check(trust) {
        Err(why) => why,
        checked => return checked,
    };
    // Another server may answer anything here: what is no chain from these keys is as good as none.
    let found = String::from_utf8(chain()?.unwrap_or_default()).unwrap_or_default();
    if found.is_empty() {
        return Err(why);
    }
    if !found.starts_with(trust.chain.as_deref().unwrap_or_default()) {
        return Err(Error::Refused("the log's chain of keys is not a continuation of the one that is given".into()));
    }
    check(&Trust { chain: Some(found), ..trust.clone() }).map_err(|_| why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretKey;
    use crate::Signer as _;
    use crate::notes::cosign::tests::{Signer, cosignature, signer};
    use crate::notes::signer::sign_note;
    use proptest::prelude::*;

    fn log_vkey(seed: u8) -> String {
        note::vkey("a.example/log", &SecretKey::parse(&hex::encode([seed; 32])).unwrap().public_key())
    }

    fn checkpoint(cosigned_by: &[&Signer]) -> String {
        let body = note::body("a.example/log", 5, &crate::tree::merkle::empty_root());
        let mut text = sign_note(&body, "a.example/log", &SecretKey::parse(&hex::encode([1; 32])).unwrap()).unwrap();
        cosigned_by.iter().for_each(|signer| text.push_str(&cosignature(signer, &body, 1_700_000_000)));
        text
    }

    /// The specification's example.
    fn example() -> (String, Vec<Signer>) {
        let signers: Vec<_> = (10..16).map(|seed| signer(&format!("w{seed}.example"), seed)).collect();
        let mut text = format!("# example\n log\t{} https://a.example/ \n\n", log_vkey(1));
        for (name, signer) in ["X1", "X2", "X3", "Y1", "Y2", "Y3"].iter().zip(&signers) {
            text.push_str(&format!("witness {name} {} https://{name}.example\n", signer.vkey));
        }
        text.push_str("group X-witnesses 2 X1 X2 X3\ngroup Y-witnesses any Y1 Y2 Y3\n");
        text.push_str("group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n");
        (text, signers)
    }

    #[test]
    fn the_specifications_example() {
        let (text, signers) = example();
        let policy = Policy::parse(text.as_bytes()).unwrap();
        assert_eq!((policy.logs().len(), policy.witnesses().len()), (1, 6));
        assert_eq!(policy.witnesses()[1].url.as_deref(), Some("https://X2.example"));
        let trust = Trust { policy: Some(policy), ..Trust::default() };
        let table: [(&[usize], bool); 7] = [
            (&[], false),
            (&[0, 1], false),
            (&[0, 3], false),
            (&[0, 1, 3], true),
            (&[5, 2, 1], true),
            (&[3, 4, 5], false),
            (&[0, 1, 2, 3, 4, 5], true),
        ];
        for (by, reached) in table {
            let by: Vec<_> = by.iter().map(|n| &signers[*n]).collect();
            let found = trust.checkpoint(&checkpoint(&by));
            assert_eq!(found.as_ref().map(|trusted| trusted.cosignatures.len()).ok(), reached.then_some(by.len()));
        }
    }

    #[test]
    fn a_checkpoint_is_refused_for_a_line_that_only_claims_a_witness() {
        let (text, signers) = example();
        let trust = Trust { policy: Some(Policy::parse(text.as_bytes()).unwrap()), ..Trust::default() };
        let quorum = [&signers[0], &signers[1], &signers[3]];
        let good = checkpoint(&quorum);
        let body = note::body("a.example/log", 5, &crate::tree::merkle::empty_root());
        let other_body = body.replace("\n5\n", "\n6\n");
        let unknown = signer("unknown.example", 77);
        assert!(trust.checkpoint(&format!("{good}{}", cosignature(&unknown, &other_body, 1))).is_ok());
        let of_another_tree = cosignature(&signers[2], &other_body, 1_700_000_000);
        let never = cosignature(&signers[2], &body, 0);
        let impossible = cosignature(&signers[2], &body, u64::MAX);
        for line in [of_another_tree, never, impossible] {
            assert!(matches!(trust.checkpoint(&format!("{good}{line}")), Err(Error::Refused(_))), "{line}");
        }
        // At least sixteen signatures are accepted, and more.
        let many: String = (100..180).map(|n| cosignature(&signer(&format!("u{n}"), n), &body, 1)).collect();
        assert_eq!(trust.checkpoint(&format!("{good}{many}")).unwrap().cosignatures.len(), 3);
    }

    #[test]
    fn who_is_accepted_as_the_log() {
        let (text, signers) = example();
        let policy = Policy::parse(text.as_bytes()).unwrap();
        let note = checkpoint(&[&signers[0], &signers[1], &signers[3]]);
        let trust =
            |vkey: Option<String>, policy: Option<&Policy>| Trust { vkey, policy: policy.cloned(), chain: None };
        assert!(trust(Some(log_vkey(1)), None).checkpoint(&note).is_ok());
        assert!(trust(Some(log_vkey(1)), Some(&policy)).checkpoint(&note).is_ok());
        assert!(trust(Some(log_vkey(2)), Some(&policy)).checkpoint(&note).is_err());
        assert!(trust(Some(log_vkey(2)), None).checkpoint(&note).is_err());
        assert!(Trust::default().checkpoint(&note).is_err());
        let any_log = Policy::parse(b"quorum none").unwrap();
        assert!(trust(None, Some(&any_log)).checkpoint(&note).is_err());
        assert!(trust(Some(log_vkey(1)), Some(&any_log)).checkpoint(&note).is_ok());
    }

    #[test]
    fn what_is_refused_says_the_line() {
        let (w, v, log) = (signer("w", 1).vkey, signer("v", 2).vkey, log_vkey(1));
        let same_key = signer("another-name", 1).vkey;
        let table = [
            ("", "no quorum line"),
            ("quorum none\nquorum none", "line 2"),
            ("quorum a", "not defined above"),
            ("quorum", "line 1"),
            ("quorum none extra", "line 1"),
            ("what none", "line 1"),
            ("quorum none\r", "0x0d"),
            (&format!("log {w}\nquorum none"), "type 0x01"),
            (&format!("witness W {log}\nquorum none"), "type 0x04"),
            (&format!("log {log}\nlog {log}\nquorum none"), "line 2: this log's key stands twice"),
            (&format!("log {log} a b\nquorum none"), "more than one URL"),
            (&format!("witness W {w}\nwitness V {same_key}\nquorum none"), "line 2: this witness's key stands twice"),
            (&format!("witness W {w}\nwitness W {v}\nquorum none"), "the name W is taken"),
            (&format!("witness none {w}\nquorum none"), "the name none is taken"),
            (&format!("witness W {w}\ngroup G any W\ngroup H any W\nquorum H"), "W is a member of a group twice"),
            (&format!("witness W {w}\ngroup G any G\nquorum G"), "G is not defined above"),
            (&format!("witness W {w}\ngroup G 0 W\nquorum G"), "threshold"),
            (&format!("witness W {w}\ngroup G 2 W\nquorum G"), "threshold"),
            (&format!("witness W {w}\ngroup G 01 W\nquorum G"), "threshold"),
            (&format!("witness W {w}\ngroup G any\nquorum G"), "threshold"),
            (&format!("witness W {w}\ngroup G any none\nquorum G"), "none is not defined above"),
        ];
        for (text, expected) in table {
            let error = Policy::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn as_many_lines_as_the_specification_asks_for_and_not_endlessly_many() {
        let line = |n: usize| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            let key = SecretKey::parse(&hex::encode(seed)).unwrap();
            format!("log {}\n", note::vkey(&format!("l{n}"), &key.public_key()))
        };
        let logs = |count: usize| (0..count).map(line).collect::<String>() + "quorum none";
        assert_eq!(Policy::parse(logs(POLICY_LINES_MAX).as_bytes()).unwrap().logs().len(), POLICY_LINES_MAX);
        assert!(Policy::parse(logs(POLICY_LINES_MAX + 1).as_bytes()).is_err());
        assert!(Policy::parse(&vec![b'\n'; POLICY_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn hostile_policies_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Policy::parse(&bytes);
        }

        #[test]
        fn hostile_lines_never_panic(text in "((log|witness|group|quorum|#)?[ \t][A-Za-z0-9+=/. \t]{0,30}\n){0,8}(quorum none)?") {
            let _ = Policy::parse(text.as_bytes());
        }
    }
}
