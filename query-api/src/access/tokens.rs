//! Static tokens: a TOML file with their hashes, read again when it changes.
//!
//! ```toml
//! [[token]]
//! name = "ci"
//! tenant = "default"                       # if absent: default
//! scopes = ["events:write"]
//! sha256 = "…"                             # hex of SHA-256 of the token
//! expires = "2027-01-01T00:00:00Z"         # if absent: never
//! ```

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pedigraph_proto::canonical::sha256;
use pedigraph_proto::{Nanos, TenantId};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::access::scope::TokenScope;
use crate::report::{About, Check};

/// Tokens of a file.
pub const TOKENS_MAX: usize = 1_024;
/// Size of the file, bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Longest token that is looked at, bytes.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Longest name, characters.
pub const NAME_CHARS_MAX: usize = 100;
/// Random bytes of a token.
pub const SECRET_BYTES: usize = 32;
/// Time between two looks at the file, nanoseconds.
const LOOK_NS: i64 = 1_000_000_000;

/// One token: everything but itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Who has it; unique.
    pub name: String,
    /// Whose data.
    pub tenant: TenantId,
    /// What it allows; at least one.
    pub scopes: BTreeSet<TokenScope>,
    /// Its hash. A token has 256 random bits, which nobody guesses however fast the hash is: a slow one would only slow
    /// requests down.
    pub sha256: [u8; 32],
    /// From when on it is worth nothing.
    pub expires: Option<Nanos>,
}

/// The text of a token with these random bytes.
pub fn text_of(secret: [u8; SECRET_BYTES]) -> String {
    format!("pdg_{}", URL_SAFE_NO_PAD.encode(secret))
}

/// What of a token is kept.
pub fn hash(token: &str) -> [u8; 32] {
    sha256(token.as_bytes())
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    token: Vec<Table>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    #[serde(default = "default_tenant")]
    tenant: String,
    scopes: Vec<TokenScope>,
    sha256: String,
    /// Text, or a time of TOML's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<toml::Value>,
}

fn default_tenant() -> String {
    TenantId::default().to_string()
}

impl Token {
    /// As it stands in the file.
    pub fn to_toml(&self) -> String {
        let table = Table {
            name: self.name.clone(),
            tenant: self.tenant.to_string(),
            scopes: self.scopes.iter().copied().collect(),
            sha256: hex::encode(self.sha256),
            expires: self.expires.map(|at| toml::Value::String(at.to_string())),
        };
        // Plain strings and lists are always TOML.
        toml::to_string(&Tables { token: vec![table] }).unwrap_or_default()
    }

    fn of(table: Table) -> Result<Token, String> {
        let Table { name, tenant, scopes, sha256, expires } = table;
        let wrong = |what: &str| format!("token {name:?}: {what}");
        let chars = name.chars().count();
        if !(1..=NAME_CHARS_MAX).contains(&chars) || name.chars().any(char::is_control) {
            return Err(wrong(&format!(
                "a name has 1 to {NAME_CHARS_MAX} characters, none of them a control character"
            )));
        }
        if scopes.is_empty() {
            return Err(wrong("without a scope it allows nothing: name at least one"));
        }
        let hash = hex::decode(&sha256).ok().and_then(|bytes| bytes.try_into().ok());
        let no_hash =
            || wrong("sha256 must be the 64 hex digits of the token's SHA-256; `pedigraph token new` writes it");
        let expires = expires.map(|at| match at {
            toml::Value::String(text) => Nanos::parse(&text),
            toml::Value::Datetime(time) => Nanos::parse(&time.to_string()),
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => None,
        });
        let no_time = || wrong("expires must be a time in RFC 3339, such as 2027-01-01T00:00:00Z");
        Ok(Token {
            tenant: TenantId::new(&tenant).ok_or_else(|| wrong("a tenant is [a-z0-9-]{1,63}"))?,
            scopes: scopes.into_iter().collect(),
            sha256: hash.ok_or_else(no_hash)?,
            expires: expires.map(|at| at.ok_or_else(no_time)).transpose()?,
            name,
        })
    }

    fn is_expired(&self, now_ns: i64) -> bool {
        self.expires.is_some_and(|at| at.0 <= now_ns)
    }
}

/// Reads the file's text. An error says where and what to do, and repeats nothing but names.
pub fn parse(text: &str) -> Result<Vec<Token>, String> {
    let unreadable = |error: toml::de::Error| {
        // The error's own display shows the line, which may be a token in the wrong place.
        let line = error.span().map_or(0, |span| text.as_bytes()[..span.start].iter().filter(|b| **b == b'\n').count());
        format!("line {}: {}", line + 1, error.message())
    };
    let tables: Tables = toml::from_str(text).map_err(unreadable)?;
    if tables.token.len() > TOKENS_MAX {
        return Err(format!("{} tokens; at most {TOKENS_MAX} are allowed: remove some", tables.token.len()));
    }
    let tokens: Vec<Token> = tables.token.into_iter().map(Token::of).collect::<Result<_, _>>()?;
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for token in &tokens {
        if !names.insert(&token.name) {
            return Err(format!("two tokens are named {:?}: rename or remove one", token.name));
        }
        if !hashes.insert(token.sha256) {
            return Err(format!("token {:?} has the sha256 of another one: remove one of them", token.name));
        }
    }
    Ok(tokens)
}

/// Reads the file. One that others may write is refused: whoever can add a line can do everything. That others may read
/// it is worth a warning at most: hashes of 256 random bits lead nowhere, and secrets that a cluster mounts are
/// readable so.
pub fn read(path: &Path) -> Result<Vec<Token>, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    // A pipe would be waited for.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err("is no regular file".to_owned());
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o002 != 0 {
        return Err("others may write it and give themselves tokens: chmod o-rwx".to_owned());
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes: remove tokens that are not used"));
    }
    let tokens = parse(&text)?;
    if mode & 0o004 != 0 {
        tracing::warn!(file = %path.display(), "others may read the names and hashes of tokens; chmod o-r hides them");
    }
    Ok(tokens)
}

/// Tells one content of a file from another without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp([i64; 4], [u64; 3]);

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Stamp(times, [found.dev(), found.ino(), found.size()])
    }
}

/// The tokens of a file, as it was at the last look.
pub struct Tokens {
    path: PathBuf,
    state: RwLock<State>,
    looked_ns: AtomicI64,
    looking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct State {
    tokens: Vec<Arc<Token>>,
    /// Of the content that was read last, good or not.
    stamp: Option<Stamp>,
    /// Why that content is not used.
    fault: Option<String>,
}

impl Tokens {
    /// Reads the file for the first time; an error says what to do.
    pub fn open(path: &Path) -> Result<Tokens, String> {
        let stamp = std::fs::metadata(path).ok().map(|found| Stamp::of(&found));
        let hint = "; `pedigraph token new` makes it";
        let hint = if stamp.is_none() { hint } else { "" };
        let tokens = read(path).map_err(|why| format!("the token file {} {why}{hint}", path.display()))?;
        let state = State { tokens: tokens.into_iter().map(Arc::new).collect(), stamp, fault: None };
        Ok(Tokens {
            path: path.to_owned(),
            state: RwLock::new(state),
            looked_ns: AtomicI64::new(i64::MIN),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// Looks at the file if the last look is a second old; whoever asks waits for that, so that no request passes with
    /// a token that was taken away more than a second ago.
    pub async fn refresh(self: &Arc<Self>, now_ns: i64) {
        if self.is_fresh(now_ns) {
            return;
        }
        let _one_looks = self.looking.lock().await;
        if self.is_fresh(now_ns) {
            return;
        }
        let tokens = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || tokens.look()).await {
            tracing::error!(%error, "looking at the token file panicked");
        }
        self.looked_ns.store(now_ns, Ordering::Release);
    }

    /// A clock that was set back does not stop the looking.
    fn is_fresh(&self, now_ns: i64) -> bool {
        (0..LOOK_NS).contains(&now_ns.saturating_sub(self.looked_ns.load(Ordering::Acquire)))
    }

    /// Reads the file if it is another than before. Wrong content changes nothing but what `/readyz` and the metric
    /// say.
    fn look(&self) {
        // Before the content: what changes in between is read at the next look.
        let stamp = std::fs::metadata(&self.path).ok().map(|found| Stamp::of(&found));
        let mut state = self.state();
        if stamp.is_some() && stamp == state.stamp {
            return;
        }
        state.stamp = stamp;
        match read(&self.path) {
            Ok(tokens) => {
                tracing::info!(tokens = tokens.len(), "the token file was read again");
                state.tokens = tokens.into_iter().map(Arc::new).collect();
                state.fault = None;
            }
            Err(why) => {
                if state.fault.as_ref() != Some(&why) {
                    let file = self.path.display();
                    tracing::error!(%file, why, "the token file is not used; the tokens from before go on");
                }
                state.fault = Some(why);
            }
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The entry of a token that is good now. How long it takes says nothing of the hashes.
    pub(crate) fn find(&self, given: &str, now_ns: i64) -> Option<Arc<Token>> {
        if given.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash = hash(given);
        let mut found = None;
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        for token in &state.tokens {
            if bool::from(token.sha256.ct_eq(&hash)) {
                found = Some(token);
            }
        }
        found.filter(|token| !token.is_expired(now_ns)).cloned()
    }

    /// Whether a token that was good is still the same: for streams, which outlive the check at their beginning.
    pub(crate) fn still_has(&self, token: &Token, now_ns: i64) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        !token.is_expired(now_ns) && state.tokens.iter().any(|known| **known == *token)
    }

    /// Whether there are tokens of more than one tenant.
    pub(crate) fn has_several_tenants(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.tokens.windows(2).any(|two| two[0].tenant != two[1].tenant)
    }

    /// Whether the file as it is now is what counts. If not, a token may still work that was taken away.
    pub(crate) fn is_usable(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).fault.is_none()
    }

    /// A line of `/readyz`, which anybody may read: no names. A slip in a file that all nodes read must not take all of
    /// them out of service; the metric raises the alarm.
    pub(crate) fn check(&self) -> Check {
        let wrong = "the file is wrong or cannot be read, the tokens from before go on; the log says why";
        let detail = if self.is_usable() { "" } else { wrong };
        Check { name: "tokens".to_owned(), about: About::Besides, ok: true, detail: detail.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn token(name: &str, given: &str) -> Token {
        let scopes = BTreeSet::from([TokenScope::LineageRead, TokenScope::Admin]);
        Token { name: name.into(), tenant: TenantId::default(), scopes, sha256: hash(given), expires: None }
    }

    fn lines(more: &str) -> String {
        format!("[[token]]\nname = \"a\"\nscopes = [\"admin\"]\nsha256 = \"{}\"\n{more}", hex::encode(hash("t")))
    }

    #[test]
    fn what_is_written_is_read() {
        let expires = Nanos::parse("2027-01-01T00:00:00Z");
        let other = TenantId::new("other").expect("a tenant");
        let all = [token("a \"b\"\\", "1"), Token { tenant: other, expires, ..token("ü", "2") }];
        let text: String = all.iter().map(Token::to_toml).collect();
        assert!(parse(&text).is_ok_and(|read| read == all), "{text}");
        let bare = parse(&lines("expires = 2027-01-01T00:00:00Z")).expect("TOML's own time");
        assert_eq!(bare[0].expires, expires);
        assert!(parse("# nobody yet\n").is_ok_and(|none| none.is_empty()));
    }

    #[test]
    fn a_token_has_a_form() {
        let text = text_of([0xff; SECRET_BYTES]);
        assert_eq!(text, format!("pdg_{}8", "_".repeat(42)));
        // sha256 of "abc", FIPS 180-2
        assert!(hex::encode(hash("abc")).starts_with("ba7816bf8f01cfea"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let hash = hex::encode(hash("t"));
        let two = |name: &str| {
            format!("{}[[token]]\nname = \"{name}\"\nscopes = [\"admin\"]\nsha256 = \"{hash}\"", lines(""))
        };
        let many: String = (0..=TOKENS_MAX).map(|n| token(&n.to_string(), &n.to_string()).to_toml()).collect();
        for (text, wanted) in [
            (lines("role = \"x\""), "line 5: unknown field `role`"),
            (lines("").replace("admin", "root"), "line 3: unknown variant `root`"),
            (lines("").replace("scopes", "#"), "missing field `scopes`"),
            (lines("").replace("[\"admin\"]", "[]"), "token \"a\": without a scope"),
            (lines("").replace(&hash, "abc"), "token \"a\": sha256 must be the 64 hex digits"),
            (lines("").replace(&hash, &hash[2..]), "token \"a\": sha256 must be the 64 hex digits"),
            (lines("tenant = \"A b\""), "token \"a\": a tenant is"),
            (lines("expires = \"soon\""), "token \"a\": expires must be"),
            (lines("expires = 12"), "token \"a\": expires must be"),
            (lines("").replace("\"a\"", "\"\""), "a name has 1 to 100"),
            (lines("").replace("\"a\"", "\"a\\u0007\""), "a name has 1 to 100"),
            (two("a"), "two tokens are named \"a\""),
            (two("b"), "token \"b\" has the sha256 of another"),
            (lines("pdg_secret"), "line 5: "),
            (many, "1025 tokens; at most 1024"),
        ] {
            let why = parse(&text).err().unwrap_or_else(|| panic!("read: {text}"));
            assert!(why.contains(wanted), "{why:?} does not contain {wanted:?}");
            assert!(!why.contains("pdg_secret") && !why.contains(&hash), "{why}");
        }
    }

    #[test]
    fn only_the_very_token_is_found_and_only_in_its_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        let expires = Nanos::parse("2027-01-01T00:00:00Z");
        let at = expires.expect("a time").0;
        let (good, late) = (token("good", "pdg_good"), Token { expires, ..token("late", "pdg_late") });
        std::fs::write(&path, good.to_toml() + &late.to_toml()).expect("written");
        let tokens = Tokens::open(&path).expect("tokens");
        let name = |given: &str, now| tokens.find(given, now).map(|token| token.name.clone());
        assert_eq!(name("pdg_good", at).as_deref(), Some("good"));
        assert_eq!(name("pdg_late", at - 1).as_deref(), Some("late"));
        assert_eq!(name("pdg_late", at), None);
        assert!(tokens.still_has(&late, at - 1) && !tokens.still_has(&late, at));
        for bad in ["", "pdg_goo", "pdg_good ", &hex::encode(hash("pdg_good")), &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(name(bad, 0), None, "{bad}");
        }
        let long = "x".repeat(TOKEN_BYTES_MAX);
        std::fs::write(&path, token("long", &long).to_toml()).expect("written");
        tokens.look();
        assert_eq!(name(&long, 0).as_deref(), Some("long"));
        assert!(name("pdg_good", 0).is_none() && !tokens.still_has(&good, 0));
    }

    #[test]
    fn a_file_that_others_may_write_or_that_is_too_large_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        assert!(Tokens::open(&path).err().is_some_and(|why| why.contains("pedigraph token new")));
        std::fs::write(&path, token("a", "1").to_toml()).expect("written");
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        mode(0o602);
        assert!(Tokens::open(&path).err().is_some_and(|why| why.contains("chmod")));
        mode(0o644);
        assert!(Tokens::open(&path).is_ok());
        std::fs::write(&path, "#".repeat(FILE_BYTES_MAX + 1)).expect("written");
        assert!(Tokens::open(&path).err().is_some_and(|why| why.contains("1048576 bytes")));
        std::fs::write(&path, "#".repeat(FILE_BYTES_MAX)).expect("written");
        assert!(Tokens::open(&path).is_ok());
    }

    #[tokio::test]
    async fn the_file_is_looked_at_once_a_second_and_a_wrong_one_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        let write = |text: &str| {
            let new = path.with_extension("new");
            std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).expect("written");
        };
        write(&token("a", "1").to_toml());
        let tokens = Arc::new(Tokens::open(&path).expect("tokens"));
        let has = |given: &str| tokens.find(given, 0).is_some();
        tokens.refresh(10 * SECOND).await;
        write(&token("b", "2").to_toml());
        tokens.refresh(11 * SECOND - 1).await;
        assert!(has("1") && !has("2"));
        tokens.refresh(11 * SECOND).await;
        assert!(!has("1") && has("2") && tokens.is_usable());
        write("token = 7");
        tokens.refresh(12 * SECOND).await;
        assert!(has("2") && !tokens.is_usable());
        std::fs::remove_file(&path).expect("removed");
        tokens.refresh(13 * SECOND).await;
        assert!(has("2") && !tokens.is_usable());
        write(&token("c", "3").to_toml());
        // A clock that was set back.
        tokens.refresh(SECOND).await;
        assert!(!has("2") && has("3") && tokens.is_usable());
    }
}
