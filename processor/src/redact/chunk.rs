//! The last look at facts, when they are encoded: whatever way a secret took, it does not get into the ledger's facts.

use bytes::Bytes;
use pedigraph_proto::Event;
use pedigraph_proto::fact::{decode_chunk, encode_chunk};
use pedigraph_proto::wire::Fact;
use serde_json::Value;

use super::search::{Needle, for_needles};
use super::{is_escaped_after, text};

/// A facts chunk without secrets, and how many there were. One without any, as nearly all are, costs a vectorized
/// search and stays the bytes that it is; otherwise its texts are looked at one by one, since in an encoded message the
/// end of a text does not show.
pub(crate) fn chunk(bytes: Bytes) -> (Bytes, u32) {
    if !is_suspect(&bytes) {
        return (bytes, 0);
    }
    let Some(mut facts) = decode_chunk(bytes.clone()) else { return (bytes, 0) };
    let count = facts.iter_mut().map(redact_fact).fold(0, u32::saturating_add);
    if count == 0 { (bytes, 0) } else { (encode_chunk(facts), count) }
}

/// Whether there is what may be the beginning of a secret, or an escape, whatever stands around it: a vectorized
/// search.
pub(crate) fn is_suspect(bytes: &[u8]) -> bool {
    let mut suspect = false;
    for_needles(bytes, |needle, _, end| {
        suspect = suspect
            || match needle {
                Needle::Prefix(rule) => rule.may_follow(bytes, end) || is_escaped_after(rule, bytes, end),
                Needle::Escape => true,
                Needle::DataBase64 => false,
            };
    });
    suspect
}

/// By way of its JSON form, which names every text of every event.
fn redact_fact(fact: &mut Fact) -> u32 {
    let Some(event) = &fact.event else { return 0 };
    let Ok(mut json) = event.to_json() else { return 0 };
    let count = redact_value(&mut json);
    if count > 0 {
        let kebab = event.kebab();
        let redacted = serde_json::to_vec(&json).ok().and_then(|json| Event::from_json(kebab, &json)?.ok());
        // What has no JSON form to come back from is told by nothing rather than with its secret.
        fact.event = redacted;
    }
    count
}

fn redact_value(value: &mut Value) -> u32 {
    match value {
        Value::String(string) => match text(string) {
            Some((redacted, count)) => {
                *string = redacted;
                count
            }
            None => 0,
        },
        Value::Array(values) => values.iter_mut().map(redact_value).fold(0, u32::saturating_add),
        Value::Object(members) => members.values_mut().map(redact_value).fold(0, u32::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use pedigraph_proto::event::{AttestationAttached, Material, RunFinished};

    use super::*;

    #[test]
    fn texts_of_facts_are_overwritten_wherever_they_stand() {
        let token = format!("{}_{}", "ghp", "a1B2".repeat(9));
        let stars = format!("{}_{}", "ghp", "*".repeat(36));
        // The length before a text of 65 bytes reads as the letter A.
        let exactly = format!("{token}{}", " ".repeat(65 - token.len()));
        let fact = |token: &str, exactly: &str| {
            let material = Material { uri: format!("git+https://x:{token}@git.example/a"), ..Material::default() };
            let attested = AttestationAttached { materials: vec![material; 2], ..AttestationAttached::default() };
            let run = RunFinished { run: exactly.to_owned(), ..RunFinished::default() };
            vec![Fact::at(7, attested), Fact::now(run)]
        };
        let url_stars = "*".repeat(token.len());
        let want = encode_chunk(fact(&url_stars, &exactly.replace(&token, &stars)));
        assert!(chunk(encode_chunk(fact(&token, &exactly))) == (want.clone(), 3));
        assert!(chunk(want.clone()) == (want, 0), "what is kept is kept as it is");
    }

    #[test]
    fn facts_with_nothing_to_hide_stay_the_bytes_that_they_are() {
        let run = RunFinished { run: "https://ci.example/7?q=%2F%2F".to_owned(), ..RunFinished::default() };
        let bytes = encode_chunk(vec![Fact::now(run)]);
        let (kept, count) = chunk(bytes.clone());
        assert!(kept.as_ptr() == bytes.as_ptr() && count == 0);
    }
}
