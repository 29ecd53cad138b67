//! The words of access: what a token allows, and what a route asks for.

use serde::{Deserialize, Serialize};

/// What a token allows. None implies another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum TokenScope {
    /// All questions, pages, streams, entries and proofs, metrics.
    #[serde(rename = "lineage:read")]
    LineageRead,
    /// Making and fetching evidence packs.
    #[serde(rename = "lineage:export")]
    LineageExport,
    /// Sending events and documents.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// Entry bundles of the tenant's log, received bytes of its entries.
    #[serde(rename = "ledger:read")]
    LedgerRead,
    /// Erasing received bytes, driving rejects again.
    #[serde(rename = "admin")]
    Admin,
}

impl TokenScope {
    /// Every scope.
    pub const ALL: [TokenScope; 5] = [
        TokenScope::LineageRead,
        TokenScope::LineageExport,
        TokenScope::EventsWrite,
        TokenScope::LedgerRead,
        TokenScope::Admin,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenScope::LineageRead => "lineage:read",
            TokenScope::LineageExport => "lineage:export",
            TokenScope::EventsWrite => "events:write",
            TokenScope::LedgerRead => "ledger:read",
            TokenScope::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<TokenScope> {
        TokenScope::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What a route asks for, where there are tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Nothing, and credentials are not even looked at: it says nothing of anybody's artifacts, or has the tenant's
    /// name in its path and tells hashes only.
    Public,
    /// Nothing; but a token says whose log is meant, and must be good. Without one it is that of `default`.
    Hashes,
    /// Any token: what answers for paths and methods that do not exist.
    Token,
    /// A token with this scope.
    Needs(TokenScope),
    /// A token with `ledger:read`, unless logs are public by configuration.
    Bundles,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_one_word() {
        for scope in TokenScope::ALL {
            assert_eq!(TokenScope::parse(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_value(scope).expect("JSON"), scope.as_str());
        }
        assert_eq!(TokenScope::parse("lineage"), None);
    }
}
