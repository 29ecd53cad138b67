//! Who may talk to a server without tokens: this machine. And no other site through anybody's browser.
//!
//! A page of another site can make a browser send requests here (CSRF) or point its own name here (DNS rebinding). The
//! first shows in `Origin` and `Sec-Fetch-Site`, the second in `Host`.
//!
//! With tokens the second gets nothing: a browser keeps a password (`Basic`) for the name that it was typed for, and a
//! bearer's token is sent by programs alone. So any `Host` may be named, and the server needs no list of its own names.
//! The first is as good as before, since a browser adds the password to what another site makes it send: `Origin` is
//! checked in both cases.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, Method, Uri, Version, header};

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
pub fn check(
    version: Version,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    allowed: Option<&[String]>,
) -> Result<(), Problem> {
    let host = authority(version, uri, headers)?;
    if host.is_some_and(|host| allowed.is_some_and(|allowed| !is_ours(host, allowed))) {
        let advice = "use localhost, 127.0.0.1 or [::1]; a proxy's name must be allowed in the configuration";
        return Err(Problem::new(Code::HostNotAllowed, advice));
    }
    if method.is_safe() || same_site(host, headers) {
        return Ok(());
    }
    Err(Problem::new(Code::OriginNotAllowed, "send it without a browser, or from a page of this server"))
}

/// The authority that is asked (RFC 9112, 3.2): exactly one `Host`, which HTTP/1.0 may leave out, as no browser does. A
/// target with an authority wins over it.
fn authority<'a>(version: Version, uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a str>, Problem> {
    let refused = |why: &str| Problem::new(Code::BadRequest, why);
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if version <= Version::HTTP_10 || uri.authority().is_some() => None,
        (None, _) => return Err(refused("HTTP/1.1 needs a Host header")),
        (Some(_), Some(_)) => return Err(refused("send one Host header")),
        (Some(host), None) => Some(host.to_str().map_err(|_| refused("the Host header is not text"))?),
    };
    let asked = uri.authority().map(|authority| authority.as_str());
    match [host, asked].into_iter().flatten().any(|text| host_name(text).is_none()) {
        true => Err(refused("the host must be a name or an address, with a port or without")),
        false => Ok(asked.or(host)),
    }
}

fn is_ours(authority: &str, allowed: &[String]) -> bool {
    let Some(name) = host_name(authority).map(str::to_ascii_lowercase) else { return false };
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name))
}

/// The host of `host`, `host:port`, `[v6]`, `[v6]:port`; nothing else is one (RFC 3986, 3.2.2; user names have no place
/// in HTTP).
fn host_name(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            name.parse::<Ipv6Addr>().ok()?;
            (name, if port.is_empty() { "" } else { port.strip_prefix(':')? })
        }
        None => {
            let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
            (Some(name).filter(|name| name.bytes().all(allowed))?, port)
        }
    };
    let is_port = port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok());
    is_port.then_some(name)
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
        let all = headers_of(headers);
        check(Version::HTTP_11, method, &Uri::from_static("/"), &all, hosts).err().map(|p| p.code().to_owned())
    }

    fn headers_of(headers: &[(&'static str, &str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("a header value")))
            .collect()
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
    }

    #[test]
    fn a_host_has_one_form_and_one_place() {
        for bad in [
            "localhost:1@evil.test",
            "evil.test@localhost",
            "[::1].evil.test",
            "[::1]x",
            "[::1",
            "::1",
            "[localhost]",
            "localhost:65536",
            "localhost:-1",
            "localhost:80:80",
            "localhost/",
            "local host",
        ] {
            assert_eq!(check_one(&Method::GET, &[("host", bad)]).as_deref(), Some("BAD_REQUEST"), "{bad}");
            let anywhere = check_with(None, &Method::GET, &[("host", bad)]);
            assert_eq!(anywhere.as_deref(), Some("BAD_REQUEST"), "with tokens {bad}");
        }
        assert_eq!(check_one(&Method::GET, &[("host", "localhost:")]), None);
        assert_eq!(check_one(&Method::GET, &[]).as_deref(), Some("BAD_REQUEST"));
        let old = check(Version::HTTP_10, &Method::GET, &Uri::from_static("/"), &HeaderMap::new(), Some(&[]));
        assert_eq!(old, Ok(()));
        let mut two = headers_of(&[("host", "localhost")]);
        two.append(header::HOST, header::HeaderValue::from_static("localhost"));
        let code = |uri: &'static str, headers: &HeaderMap| {
            let checked = check(Version::HTTP_11, &Method::GET, &Uri::from_static(uri), headers, Some(&[]));
            checked.err().map(|problem| problem.code().to_owned())
        };
        assert_eq!(code("/", &two).as_deref(), Some("BAD_REQUEST"));
        let one = headers_of(&[("host", "localhost")]);
        assert_eq!(code("http://localhost/", &one), None);
        assert_eq!(code("http://evil.test/", &one).as_deref(), Some("HOST_NOT_ALLOWED"));
        assert_eq!(code("http://localhost@evil.test/", &one).as_deref(), Some("BAD_REQUEST"));
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
