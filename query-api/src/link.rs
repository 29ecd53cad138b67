//! Addresses of this server, as they stand in links.

use crate::read::Read;

/// A path segment, percent-encoded.
pub fn encoded(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The moment of the question, to be carried from page to page.
pub fn moment_query(read: &Read) -> String {
    let given = ["at", "asOf"].iter().filter_map(|name| Some(format!("{name}={}", encoded(read.params.get(name)?))));
    let query = given.collect::<Vec<_>>().join("&");
    if query.is_empty() { query } else { format!("?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("sha256:ab"), "sha256:ab");
        assert_eq!(encoded("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
    }
}
