//! Who may talk to a server without tokens: this machine. And no other site through anybody's browser.
//!
//! A page of another site can make a browser send requests here (CSRF) or point its own name here (DNS rebinding). The
//! first shows in `Origin` and `Sec-Fetch-Site`, the second in `Host`.
//!
//! With tokens the second gets nothing: a browser keeps a password (`Basic`) for the name that it was typed for, and a
//! bearer's token is sent by programs alone. So any `Host` may be named, and the server needs no list of its own names.
//! The first is as good as before, since a browser adds the password to what another site makes it send: `Origin` is
//! checked in both cases.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, Uri, header};

use crate::access::tokens::Tokens;
use crate::problem::{Code, Problem};

/// Refuses to listen on anything but loopback where there are no tokens.
pub fn check_bind(address: SocketAddr, tokens: Option<&Tokens>) -> Result<(), String> {
    if address.ip().is_loopback() || tokens.is_some() {
        return Ok(());
    }
    Err(format!(
        "{address} can be reached from other machines: say with --tokens FILE who may ask (`pedigraph token new` makes one), \
         or listen on 127.0.0.1:{0} or [::1]:{0}",
        address.port()
    ))
}

/// Checks `Host` against loopback and the names that are allowed besides (`None`: all), and for a request that changes
/// something also `Origin` and `Sec-Fetch-Site`.
pub fn check(method: &Method, uri: &Uri, headers: &HeaderMap, allowed: Option<&[String]>) -> Result<(), Problem> {
    let host = authority(uri, headers)?;
    if host.is_some_and(|host| allowed.is_some_and(|allowed| !is_ours(host, allowed))) {
        let advice = "use localhost, 127.0.0.1 or [::1]; a proxy's name must be allowed in the configuration";
        return Err(Problem::new(Code::HostNotAllowed, advice));
    }
    if method.is_safe() || same_site(host, headers) {
        return Ok(());
    }
    Err(Problem::new(Code::OriginNotAllowed, "send it without a browser, or from a page of this server"))
}

/// The authority that is asked; HTTP/1.0 may leave it out, which no browser does.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.as_str()));
    }
    let Some(host) = headers.get(header::HOST) else { return Ok(None) };
    host.to_str().map(Some).map_err(|_| Problem::new(Code::BadRequest, "the Host header is not text"))
}

fn is_ours(authority: &str, allowed: &[String]) -> bool {
    let name = host_name(authority).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
}

/// The host of `host`, `host:port`, `[v6]`, `[v6]:port`.
fn host_name(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

fn same_site(host: Option<&str>, headers: &HeaderMap) -> bool {
    let fetched = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    if fetched.is_some_and(|site| site == b"cross-site" || site == b"same-site") {
        return false;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| Some(origin.split_once("://")?.1));
    origin.is_some() && origin.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(method: &Method, headers: &[(&'static str, &str)]) -> Option<String> {
        check_with(Some(&["proxy.test".to_owned()]), method, headers)
    }

    fn check_with(hosts: Option<&[String]>, method: &Method, headers: &[(&'static str, &str)]) -> Option<String> {
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("a header value")));
        let headers: HeaderMap = headers.collect();
        check(method, &Uri::from_static("/"), &headers, hosts).err().map(|p| p.code().to_owned())
    }

    #[test]
    fn only_loopback_is_bound() {
        assert!(check_bind("127.0.0.1:8080".parse().expect("an address"), None).is_ok());
        assert!(check_bind("[::1]:0".parse().expect("an address"), None).is_ok());
        let refused = check_bind("0.0.0.0:8080".parse().expect("an address"), None).expect_err("not loopback");
        assert!(refused.contains("127.0.0.1:8080") && refused.contains("--tokens"), "{refused}");
    }

    #[test]
    fn a_host_must_be_this_machine() {
        for good in [
            "localhost",
            "LocalHost:80",
            "a.localhost:1",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]",
            "[::1]:80",
            "proxy.test:1",
        ] {
            assert_eq!(check_one(&Method::GET, &[("host", good)]), None, "{good}");
        }
        for bad in ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test:8080", "10.0.0.1", "[::2]", ""] {
            assert_eq!(check_one(&Method::GET, &[("host", bad)]).as_deref(), Some("HOST_NOT_ALLOWED"), "{bad}");
        }
        assert_eq!(check_one(&Method::GET, &[]), None);
    }

    #[test]
    fn another_site_cannot_write() {
        let host = ("host", "localhost:8080");
        assert_eq!(check_one(&Method::POST, &[host]), None);
        assert_eq!(check_one(&Method::POST, &[host, ("origin", "http://localhost:8080")]), None);
        for origin in ["http://localhost:9090", "http://evil.test", "null", ""] {
            let refused = check_one(&Method::POST, &[host, ("origin", origin)]);
            assert_eq!(refused.as_deref(), Some("ORIGIN_NOT_ALLOWED"), "{origin}");
        }
        let refused = check_one(&Method::POST, &[host, ("sec-fetch-site", "cross-site")]);
        assert_eq!(refused.as_deref(), Some("ORIGIN_NOT_ALLOWED"));
        assert_eq!(check_one(&Method::GET, &[host, ("origin", "http://evil.test")]), None);
    }

    /// A browser adds the password of this server to what a page of another makes it send.
    #[test]
    fn with_tokens_any_host_may_be_named_and_another_site_still_cannot_write() {
        let host = ("host", "pedigraph.corp.test:8080");
        let check = |method: Method, headers: &[_]| check_with(None, &method, &[&[host], headers].concat());
        assert_eq!(check(Method::GET, &[]), None);
        assert_eq!(check(Method::POST, &[]), None);
        assert_eq!(check(Method::POST, &[("origin", "https://pedigraph.corp.test:8080")]), None);
        for (name, value) in [("origin", "https://evil.test"), ("origin", "null"), ("sec-fetch-site", "same-site")] {
            let refused = check(Method::POST, &[(name, value), ("authorization", "Basic OnBkZ19h")]);
            assert_eq!(refused.as_deref(), Some("ORIGIN_NOT_ALLOWED"), "{name}: {value}");
        }
    }
}
