//! Addresses of this server, as they stand in links.

use pedigraph_projector::answers::Candidate;
use serde::Serialize;

/// The page of a candidate; `None` for a kind that has none.
pub fn page_of(candidate: &Candidate) -> Option<String> {
    let id = encoded(&candidate.id);
    match candidate.kind.as_str() {
        "artifact" => Some(format!("/artifacts/{id}")),
        "environment" => Some(format!("/environments/{id}")),
        "service" => {
            let environment = candidate.environment.as_deref()?;
            let service = candidate.id.strip_prefix(environment)?.strip_prefix('/')?;
            if service.is_empty() {
                return Some(format!("/environments/{}", encoded(environment)));
            }
            Some(format!("/environments/{}/services/{}", encoded(environment), encoded(service)))
        }
        "commit" => Some(format!("/commits/{id}")),
        "run" => Some(format!("/runs/{id}")),
        "vulnerability" => Some(format!("/vulnerabilities/{id}")),
        "purl" => Some(format!("/components/impact?purl={id}")),
        "entry" => Some(format!("/entries/{id}")),
        _ => None,
    }
}

/// A candidate with the page that it leads to (SPEC §9, `resolve`).
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Linked {
    #[serde(flatten)]
    candidate: Candidate,
    /// Its page; what has none is searched for.
    href: String,
}

impl From<Candidate> for Linked {
    fn from(candidate: Candidate) -> Linked {
        let href = page_of(&candidate).unwrap_or_else(|| format!("/search?q={}", encoded(&candidate.id)));
        Linked { candidate, href }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: &str, id: &str) -> Candidate {
        let environment = id.rsplit_once('/').map(|(environment, _)| environment.to_owned());
        Candidate { kind: kind.into(), id: id.into(), label: "x".into(), digest: None, environment }
    }

    #[test]
    fn every_kind_has_a_page_whatever_its_name() {
        let check = |kind: &str, id: &str, want: &str| {
            let linked = serde_json::to_value(Linked::from(candidate(kind, id))).expect("JSON");
            assert_eq!(linked["href"], want, "{linked}");
        };
        check("artifact", "sha256:ab", "/artifacts/sha256:ab");
        check("environment", "eu/blue?#%", "/environments/eu%2Fblue%3F%23%25");
        check("service", "eu/blue/a b", "/environments/eu%2Fblue/services/a%20b");
        check("commit", "0a1b2c3", "/commits/0a1b2c3");
        check("run", "https://ci.test/7?x=é", "/runs/https:%2F%2Fci.test%2F7%3Fx%3D%C3%A9");
        check("vulnerability", "GHSA-a", "/vulnerabilities/GHSA-a");
        check("purl", "pkg:deb/g%2B%2B", "/components/impact?purl=pkg:deb%2Fg%252B%252B");
        check("entry", "7", "/entries/7");
        check("ticket", "a b", "/search?q=a%20b");
    }

    #[test]
    fn segments_are_encoded() {
        assert_eq!(encoded("sha256:ab"), "sha256:ab");
        assert_eq!(encoded("a/b?c#d é"), "a%2Fb%3Fc%23d%20%C3%A9");
    }
}
