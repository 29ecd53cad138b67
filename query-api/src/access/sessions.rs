//! Browsers that signed in with a token: each is known by a cookie with a random id, and is worth what its token is.
//!
//! A session is in memory alone and ends with the process, after its time, with its token and when its owner signs out.
//! Of its id the hash is kept, as of a token: what can be read out of memory signs nobody in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pedigraph_proto::canonical::sha256;

use crate::access::tokens::{Token, Tokens};

/// Name of the cookie.
pub(crate) const COOKIE: &str = "pedigraph_session";
/// How long a session lasts, seconds.
pub(crate) const LIFE_SECONDS: i64 = 12 * 3_600;
/// Sessions of one token; the oldest gives way. Tokens are bounded, and so are all sessions.
const PER_TOKEN_MAX: usize = 32;
/// Random bytes of an id.
const ID_BYTES: usize = 32;

/// What of a session's id is kept.
pub(crate) type Key = [u8; 32];

struct Session {
    token: Arc<Token>,
    /// Nanoseconds since 1970 UTC.
    ends_at: i64,
}

/// Everybody who is signed in.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Key, Session>>);

impl Sessions {
    /// Begins a session of a token; its id, which only the cookie has. `None` when there is no randomness.
    pub(crate) fn begin(&self, token: &Arc<Token>, now_ns: i64) -> Option<String> {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).ok()?;
        let id = URL_SAFE_NO_PAD.encode(id);
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.ends_at > now_ns);
        let of_token = sessions.iter().filter(|(_, session)| session.token.sha256 == token.sha256);
        let mut of_token: Vec<(i64, Key)> = of_token.map(|(key, session)| (session.ends_at, *key)).collect();
        of_token.sort_unstable();
        for (_, key) in of_token.iter().rev().skip(PER_TOKEN_MAX - 1) {
            sessions.remove(key);
        }
        let ends_at = now_ns.saturating_add(LIFE_SECONDS * 1_000_000_000);
        sessions.insert(sha256(id.as_bytes()), Session { token: Arc::clone(token), ends_at });
        Some(id)
    }

    /// The token of a session that goes on, if the file still has it.
    pub(crate) fn find(&self, key: &Key, tokens: &Tokens, now_ns: i64) -> Option<Arc<Token>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // By the hash of the id: how far another one is the same tells nothing of it.
        let session = sessions.get(key)?;
        if session.ends_at > now_ns && tokens.still_has(&session.token, now_ns) {
            return Some(Arc::clone(&session.token));
        }
        sessions.remove(key);
        None
    }

    /// Ends a session.
    pub(crate) fn end(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The session that a request's cookie names. Several are ambiguous and therefore none.
pub(crate) fn key_of(headers: &HeaderMap) -> Option<Key> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    let mut ids = cookies.filter(|(name, id)| *name == COOKIE && !id.is_empty()).map(|(_, id)| id);
    let (Some(id), None) = (ids.next(), ids.next()) else { return None };
    Some(sha256(id.as_bytes()))
}

/// The header that gives a browser its session, or takes it away (an empty id).
pub(crate) fn set_cookie(id: &str, secure: bool) -> String {
    let life = if id.is_empty() { 0 } else { LIFE_SECONDS };
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}={id}; Path=/; Max-Age={life}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pedigraph_proto::TenantId;

    use super::*;
    use crate::access::scope::TokenScope;
    use crate::access::tokens::hash;

    const LIFE_NS: i64 = LIFE_SECONDS * 1_000_000_000;

    fn token(name: &str) -> Token {
        let scopes = BTreeSet::from([TokenScope::LineageRead]);
        Token { name: name.into(), tenant: TenantId::default(), scopes, sha256: hash(name), expires: None }
    }

    fn file(tokens: &[&Token]) -> (tempfile::TempDir, Tokens) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("tokens");
        std::fs::write(&path, tokens.iter().map(|token| token.to_toml()).collect::<String>()).expect("written");
        let tokens = Tokens::open(&path).expect("tokens");
        (dir, tokens)
    }

    #[test]
    fn a_session_is_worth_what_its_token_is_and_ends() {
        let (ours, theirs) = (Arc::new(token("ours")), Arc::new(token("theirs")));
        let (_dir, tokens) = file(&[&ours]);
        let sessions = Sessions::default();
        let key = |token| sha256(sessions.begin(token, 0).expect("an id").as_bytes());
        let (first, second, gone) = (key(&ours), key(&ours), key(&theirs));
        let name = |key, now| sessions.find(&key, &tokens, now).map(|token| token.name.clone());
        assert_eq!(name(first, LIFE_NS - 1).as_deref(), Some("ours"));
        assert_eq!(name(gone, 0), None, "the file does not have its token");
        assert_eq!(name(sha256(b""), 0), None);
        sessions.end(&first);
        assert_eq!((name(first, 0), name(second, 0).is_some()), (None, true));
        assert_eq!(name(second, LIFE_NS), None);
        assert!(sessions.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_token_has_few_sessions_and_takes_none_of_another() {
        let (ours, theirs) = (Arc::new(token("ours")), Arc::new(token("theirs")));
        let (_dir, tokens) = file(&[&ours, &theirs]);
        let sessions = Sessions::default();
        let other = sha256(sessions.begin(&theirs, 0).expect("an id").as_bytes());
        let begin = |at| sha256(sessions.begin(&ours, at).expect("an id").as_bytes());
        let keys: Vec<Key> = (1..=100).map(begin).collect();
        let good = keys.iter().filter(|key| sessions.find(key, &tokens, 100).is_some()).count();
        assert_eq!((good, sessions.find(&keys[99], &tokens, 100).is_some()), (PER_TOKEN_MAX, true));
        assert!(sessions.find(&other, &tokens, 100).is_some());
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let key = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (header::COOKIE, line.parse().expect("a header value")));
            key_of(&lines.collect())
        };
        let wanted = Some(sha256(b"abc"));
        assert_eq!(key(&["pedigraph_session=abc"]), wanted);
        assert_eq!(key(&["a=b; pedigraph_session=abc;c", "d=e"]), wanted);
        for none in [&["pedigraph_session="][..], &["x_pedigraph_session=abc"], &["pedigraph_session"], &[]] {
            assert_eq!(key(none), None, "{none:?}");
        }
        assert_eq!(key(&["pedigraph_session=abc", "pedigraph_session=d"]), None);
        assert!(set_cookie("abc", true).ends_with("; HttpOnly; SameSite=Strict; Secure"));
        assert!(set_cookie("", false).contains("=; Path=/; Max-Age=0;"));
    }
}
