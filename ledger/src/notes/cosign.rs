//! Cosignatures of witnesses: C2SP tlog-cosignature v1 with Ed25519 (key type 0x04). Pure.

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};

use crate::Error;
use crate::notes::note::{self, Key, Line};

/// Key type of a witness: Ed25519 over time and checkpoint.
pub(crate) const COSIGNATURE_V1: u8 = 4;

/// A witness that cosigned, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cosignature {
    /// The witness: its name in the policy.
    pub witness: String,
    /// When it signed, seconds since 1970 UTC, as it states it.
    pub time_s: u64,
}

/// A witness's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cosigner {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

/// Why a signature line that names a known key is none by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoCosignature {
    /// Not eight bytes of time and 64 of signature: perhaps a plain signature without a time.
    Length,
    /// Zero, or above what the specification allows.
    Time,
    /// Of something else, or by another key.
    Signature,
}

impl Cosigner {
    /// `None` unless the verifier key is well-formed and of type 0x04.
    pub(crate) fn parse(vkey: &str) -> Option<Cosigner> {
        let key = Key::parse(vkey, COSIGNATURE_V1)?;
        Some(Cosigner { name: key.name.to_owned(), id: key.id, key: key.key })
    }

    /// The 32 bytes by which two witnesses are the same.
    pub(crate) fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether a line says that it is by this key.
    pub(crate) fn is_named_by(&self, line: &Line<'_>) -> bool {
        line.name == self.name && line.bytes.starts_with(&self.id)
    }

    /// The time of a cosignature of a checkpoint's text, in seconds.
    pub(crate) fn verify(&self, text: &str, line: &Line<'_>) -> Result<u64, NoCosignature> {
        let payload = line.bytes.get(4..).unwrap_or_default();
        let (time, signature) = payload.split_first_chunk::<8>().ok_or(NoCosignature::Length)?;
        let signature = Signature::from_slice(signature).map_err(|_| NoCosignature::Length)?;
        let time = u64::from_be_bytes(*time);
        if time == 0 || i64::try_from(time).is_err() {
            return Err(NoCosignature::Time);
        }
        let signed = format!("cosignature/v1\ntime {time}\n{text}");
        match self.key.verify(signed.as_bytes(), &signature) {
            Ok(()) => Ok(time),
            Err(_) => Err(NoCosignature::Signature),
        }
    }
}

impl NoCosignature {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            NoCosignature::Length => "is not a cosignature/v1: it needs 8 bytes of time and 64 of signature",
            NoCosignature::Time => "states an impossible time",
            NoCosignature::Signature => "does not verify",
        }
    }
}

/// The time of the cosignature that a note has by a key; `None` when it has no line by it.
///
/// # Errors
/// [`Error::Refused`]: a line names the key and is not by it, which spoils the whole note (signed-note, "Verifying").
pub(crate) fn time_of(note: &str, cosigner: &Cosigner) -> Result<Option<u64>, Error> {
    let (text, lines) = note::split(note).ok_or_else(|| Error::Refused("note is malformed".into()))?;
    let mut time = None;
    for line in lines.iter().filter(|line| cosigner.is_named_by(line)) {
        let found = cosigner.verify(text, line);
        let refused =
            |why: NoCosignature| Error::Refused(format!("the line of witness {} {}", line.name, why.reason()));
        time = Some(found.map_err(refused)?);
    }
    Ok(time)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use ed25519_dalek::{Signer as _, SigningKey};
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    /// A witness with its key.
    pub(crate) struct Signer {
        pub(crate) name: String,
        pub(crate) vkey: String,
        key: SigningKey,
        id: Vec<u8>,
    }

    pub(crate) fn signer(name: &str, seed: u8) -> Signer {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let typed = [&[COSIGNATURE_V1][..], key.verifying_key().as_bytes()].concat();
        let id = Sha256::digest([name.as_bytes(), b"\n", &typed].concat())[..4].to_vec();
        let vkey = format!("{name}+{}+{}", hex::encode(&id), BASE64_STANDARD.encode(typed));
        Signer { name: name.to_owned(), vkey, key, id }
    }

    /// The line that a witness adds.
    pub(crate) fn cosignature(signer: &Signer, body: &str, time: u64) -> String {
        let signature = signer.key.sign(format!("cosignature/v1\ntime {time}\n{body}").as_bytes());
        let payload = [&signer.id[..], &time.to_be_bytes(), &signature.to_bytes()].concat();
        format!("\u{2014} {} {}\n", signer.name, BASE64_STANDARD.encode(payload))
    }

    #[test]
    fn a_signature_without_time_is_no_cosignature() {
        let signer = signer("w.example", 3);
        let cosigner = Cosigner::parse(&signer.vkey).unwrap();
        let body = "a.example\n5\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
        let good = format!("{body}\n{}", cosignature(&signer, body, 7));
        assert_eq!(time_of(&good, &cosigner).unwrap(), Some(7));
        let plain = [&signer.id[..], &signer.key.sign(body.as_bytes()).to_bytes()].concat();
        let plain = format!("{body}\n\u{2014} w.example {}\n", BASE64_STANDARD.encode(plain));
        assert!(time_of(&plain, &cosigner).unwrap_err().to_string().contains("8 bytes of time"));
        let other = Cosigner::parse(&super::tests::signer("other.example", 3).vkey).unwrap();
        assert_eq!(time_of(&good, &other).unwrap(), None);
    }

    proptest! {
        #[test]
        fn hostile_lines_never_panic(bytes in proptest::collection::vec(any::<u8>(), 5..90), text in ".{0,40}") {
            let cosigner = Cosigner::parse(&signer("w", 3).vkey).unwrap();
            let line = Line { name: "w", bytes };
            prop_assert!(cosigner.verify(&text, &line).is_err());
        }
    }
}
