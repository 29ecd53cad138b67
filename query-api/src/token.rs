//! Page tokens: opaque to clients, pinned to the ledger index that the first page used and to the question.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pedigraph_proto::canonical::sha256;

const VERSION: u8 = 1;
const SUM_BYTES: usize = 8;
/// Longest token that is read, characters.
const TOKEN_CHARS_MAX: usize = 8_192;

/// Where a list goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageToken {
    /// The index that the first page used; `None` when the log was empty.
    pub as_of: Option<u64>,
    /// Key of the next row.
    pub key: Vec<u8>,
}

impl PageToken {
    /// The text for a question. `question` is everything that selects and orders rows.
    pub fn encode(&self, question: &str) -> String {
        let mut bytes = vec![VERSION, u8::from(self.as_of.is_some())];
        bytes.extend_from_slice(&self.as_of.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(&self.key);
        let sum = checksum(&bytes, question);
        bytes.extend_from_slice(&sum);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for what is not a token of this question.
    pub fn decode(text: &str, question: &str) -> Option<PageToken> {
        if text.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (bytes, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
        let ([VERSION, pinned @ (0 | 1)], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (as_of, key) = rest.split_first_chunk::<8>()?;
        let as_of = (*pinned == 1).then_some(u64::from_be_bytes(*as_of));
        (sum == checksum(bytes, question)).then(|| PageToken { as_of, key: key.to_vec() })
    }
}

/// Tells a token of another question or a damaged one from a good one; it is no secret, and a forged key reaches only
/// what the same caller may read anyway.
fn checksum(bytes: &[u8], question: &str) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    sum.copy_from_slice(&sha256(&[b"page", bytes, b"\0", question.as_bytes()].concat())[..SUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_for_its_own_question_only() {
        for token in [
            PageToken { as_of: Some(7), key: b"prod\xff".to_vec() },
            PageToken { as_of: None, key: vec![] },
            PageToken { as_of: Some(u64::MAX), key: vec![0; 300] },
        ] {
            let text = token.encode("q");
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert_eq!(PageToken::decode(&text, "q"), Some(token));
            assert_eq!(PageToken::decode(&text, "other"), None);
        }
    }

    #[test]
    fn a_damaged_token_is_refused() {
        let text = PageToken { as_of: Some(7), key: b"key".to_vec() }.encode("q");
        for end in 0..text.len() {
            assert_eq!(PageToken::decode(&text[..end], "q"), None);
        }
        for position in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[position] = if damaged[position] == b'A' { b'B' } else { b'A' };
            let damaged = String::from_utf8(damaged).expect("ASCII");
            assert_eq!(PageToken::decode(&damaged, "q"), None, "{damaged}");
        }
        assert_eq!(PageToken::decode("not base64!", "q"), None);
    }
}
