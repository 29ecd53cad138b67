//! Who signs checkpoints: a key in a file or text of the operator's, or an external command that keeps it.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};

use crate::Error;
use crate::notes::note;

/// The argument that asks a command for its public key.
const PUBLIC_KEY: &str = "--public-key";
/// How often one is looked at that has answered and not ended.
const NAP: Duration = Duration::from_millis(2);
/// Answers of a command are shorter.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Signs with one Ed25519 key (RFC 8032), wherever that is kept.
pub trait Signer: Send + Sync + fmt::Debug {
    /// The public key.
    fn public_key(&self) -> [u8; 32];
    /// The signature of a message.
    ///
    /// # Errors
    /// [`Error::Signer`]: nothing was signed, and it may be tried again.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error>;
}

/// Whether an Ed25519 signature of a message is by a public key. Keys and signatures that leave a choice (of small
/// order, not reduced) are refused.
pub fn signature_holds(public_key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(public_key), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}

/// A secret key in memory. Shows nothing of itself.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn generate() -> Result<SecretKey, Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(std::io::Error::other)?;
        Ok(SecretKey(SigningKey::from_bytes(&seed)))
    }

    /// The seed as 64 hex digits, or the key as Go's `sumdb/note` writes it: `PRIVATE+KEY+<name>+<id>+<base64>`. `None`
    /// when it is neither; the text is in no error.
    pub fn parse(text: &str) -> Option<SecretKey> {
        let text = text.trim();
        let seed: [u8; 32] = match text.strip_prefix("PRIVATE+KEY+") {
            None => hex::decode(text).ok()?.try_into().ok()?,
            Some(rest) => note::go_seed(rest)?,
        };
        Some(SecretKey(SigningKey::from_bytes(&seed)))
    }

    /// For the ledger's own key file.
    pub(crate) fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(public {})", BASE64_STANDARD.encode(self.public_key()))
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> [u8; 32] {
        *self.0.verifying_key().as_bytes()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        Ok(self.0.sign(message).to_bytes())
    }
}

/// A program that signs: it gets the message on stdin and answers with the 64-byte signature in base64 on stdout.
/// Called with the further argument `--public-key` it answers with the 32-byte public key in base64.
#[derive(Debug)]
pub struct CommandSigner {
    command: Vec<String>,
    timeout: Duration,
    public_key: [u8; 32],
}

impl CommandSigner {
    /// Asks the program for its public key. `command` is the program and its arguments; no shell is involved.
    ///
    /// # Errors
    /// [`Error::Signer`] when it fails, says something else, or takes longer than the timeout.
    pub fn start(command: &[String], timeout: Duration) -> Result<CommandSigner, Error> {
        let mut asking = command.to_vec();
        asking.push(PUBLIC_KEY.into());
        let public_key = ask(&asking, &[], timeout)?;
        Ok(CommandSigner { command: command.to_vec(), timeout, public_key })
    }
}

impl Signer for CommandSigner {
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        ask(&self.command, message, self.timeout)
    }
}

fn ask<const N: usize>(command: &[String], message: &[u8], timeout: Duration) -> Result<[u8; N], Error> {
    let answer = run(command, message, timeout)?;
    let bytes = std::str::from_utf8(&answer).ok().and_then(|text| BASE64_STANDARD.decode(text.trim()).ok());
    let fits = bytes.and_then(|bytes| bytes.try_into().ok());
    fits.ok_or_else(|| failed(command, &format!("did not answer with {N} bytes in base64")))
}

/// Runs a program that reads a message and answers, and ends it when it takes too long.
fn run(command: &[String], message: &[u8], timeout: Duration) -> Result<Vec<u8>, Error> {
    let (program, arguments) = command.split_first().ok_or_else(|| Error::Signer("no command is named".into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|why| failed(command, &why.to_string()))?;
    let (send, answered) = mpsc::channel();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let message = message.to_vec();
    // Writing and reading may each wait for ever: not on this thread.
    let talk = move || {
        // A program that does not read its message says so by its answer.
        let _not_read = stdin.map(|mut stdin| stdin.write_all(&message));
        let mut answer = Vec::new();
        let read = stdout.map(|stdout| stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer));
        let _nobody_waits = send.send(read.transpose().map(|_| answer));
    };
    std::thread::Builder::new().name("signer".into()).spawn(talk)?;
    let answer = match answered.recv_timeout(timeout) {
        Ok(answer) => answer?,
        Err(_) => return Err(too_late(command, child, timeout)),
    };
    // It has closed its output; its status says whether it means it.
    let mut left = timeout;
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(answer),
            Some(status) => return Err(failed(command, &format!("ended with {status}"))),
            None if left.is_zero() => return Err(too_late(command, child, timeout)),
            None => {}
        }
        let nap = left.min(NAP);
        std::thread::park_timeout(nap);
        left -= nap;
    }
}

fn too_late(command: &[String], mut child: Child, timeout: Duration) -> Error {
    let _it_may_have_ended = (child.kill(), child.wait());
    failed(command, &format!("did not answer and end within {} ms", timeout.as_millis()))
}

fn failed(command: &[String], why: &str) -> Error {
    Error::Signer(format!("{}: {why}", command.first().map_or("", String::as_str)))
}

/// Signs a text, which ends in a newline.
pub(crate) fn sign_note(text: &str, name: &str, signer: &dyn Signer) -> Result<String, Error> {
    Ok(format!("{text}\n{}", line(text, name, signer)?))
}

/// The signature line of a text. What the signer answers is not believed: a wrong signature must not be published.
pub(crate) fn line(text: &str, name: &str, signer: &dyn Signer) -> Result<String, Error> {
    let public = signer.public_key();
    let signature = signer.sign(text.as_bytes())?;
    let key = VerifyingKey::from_bytes(&public).map_err(|_| Error::Signer("its public key is none".into()))?;
    if key.verify(text.as_bytes(), &Signature::from_bytes(&signature)).is_err() {
        return Err(Error::Signer("its signature is not by the key that it says it has".into()));
    }
    let line = [&note::key_id(name, note::ED25519, &public)[..], &signature].concat();
    Ok(format!("\u{2014} {name} {}\n", BASE64_STANDARD.encode(line)))
}
