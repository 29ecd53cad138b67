//! How fresh an answer is: what it was read from, and what the views do not show yet.

use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

/// Views that are folded anew: they show less than the ledger held when this process started, so they are older than
/// what an earlier process may have answered. Lag behind entries that came since is no rebuilding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Rebuilding {
    /// Entries that the views show.
    pub folded: u64,
    /// Entries that the ledger held when this process started.
    pub of: u64,
}

impl std::fmt::Display for Rebuilding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.folded, self.of)
    }
}

/// How fresh an answer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fresh {
    /// The newest index that it uses; `None` for an empty log.
    pub as_of: Option<u64>,
    /// Age of the oldest entry that the views do not show yet, milliseconds.
    pub lag_ms: u64,
    /// That the views are folded anew and lack entries that the question is about.
    pub rebuilding: Option<Rebuilding>,
    /// The newest checkpoint, of an answer that says it.
    pub checkpoint: Option<Sealed>,
}

/// The checkpoint under which what proves an answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Sealed {
    /// Entries that it covers.
    pub size: u64,
    /// Witnesses that cosigned it.
    pub cosignatures: usize,
}

impl Sealed {
    /// Says it at the end of an object of JSON whose `proof` it covers; of an entry that is not in it, nothing.
    pub fn said_in(self, mut answer: Vec<u8>) -> Vec<u8> {
        #[derive(Deserialize)]
        struct Proved {
            proof: Index,
        }
        #[derive(Deserialize)]
        struct Index {
            index: u64,
        }
        let covers = serde_json::from_slice::<Proved>(&answer).is_ok_and(|of| of.proof.index < self.size);
        if covers && answer.pop_if(|last| *last == b'}').is_some() {
            let Sealed { size, cosignatures } = self;
            let said = format!(",\"checkpoint\":{{\"size\":{size},\"cosignatures\":{cosignatures}}}}}");
            answer.extend_from_slice(said.as_bytes());
        }
        answer
    }
}

impl Fresh {
    /// Writes the headers that say so: `Pedigraph-As-Of`, `Pedigraph-Lag-Ms` and, only while it is so,
    /// `Pedigraph-Rebuilding`.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(index) = self.as_of {
            headers.insert("pedigraph-as-of", HeaderValue::from(index));
        }
        headers.insert("pedigraph-lag-ms", HeaderValue::from(self.lag_ms));
        let rebuilding = self.rebuilding.and_then(|state| HeaderValue::from_str(&state.to_string()).ok());
        headers.extend(rebuilding.map(|value| (axum::http::HeaderName::from_static("pedigraph-rebuilding"), value)));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_said_where_it_covers_the_proof() {
        let said = |answer: &str, size: u64| {
            String::from_utf8(Sealed { size, cosignatures: 2 }.said_in(answer.into())).expect("text")
        };
        let card = r#"{"digest":"a","proof":{"index":4,"leafHash":"b"}}"#;
        let sealed = r#"{"digest":"a","proof":{"index":4,"leafHash":"b"},"checkpoint":{"size":5,"cosignatures":2}}"#;
        assert_eq!((said(card, 5).as_str(), said(card, 4).as_str()), (sealed, card));
        for other in ["", "{}", "[]", "7", r#"{"proof":7}"#] {
            assert_eq!(said(other, 9), other);
        }
    }
}
