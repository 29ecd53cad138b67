//! Who may talk to a server without credentials: this machine, and no other site through a browser on it.
//!
//! A page of another site can make a browser send requests to loopback (CSRF) or point its own name there (DNS
//! rebinding). The first shows in `Origin` and `Sec-Fetch-Site`, the second in `Host`.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, Method, Uri, header};

use crate::problem::{Code, Problem};

/// Refuses to listen on anything but loopback while there are no credentials.
pub fn check_bind(address: SocketAddr) -> Result<(), String> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "{address} can be reached from other machines, and this version knows no credentials yet: listen on \
         127.0.0.1:{0} or [::1]:{0} and put an authenticating proxy on this machine in front",
        address.port()
    ))
}

/// Checks `Host`, and for a request that changes something also `Origin` and `Sec-Fetch-Site`.
pub fn check(method: &Method, uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let host = authority(uri, headers)?;
    if host.is_some_and(|host| !is_ours(host, allowed)) {
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
        let headers = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().expect("a header value")));
        let headers: HeaderMap = headers.collect();
        check(method, &Uri::from_static("/"), &headers, &["proxy.test".to_owned()]).err().map(|p| p.code().to_owned())
    }

    #[test]
    fn only_loopback_is_bound() {
        assert!(check_bind("127.0.0.1:8080".parse().expect("an address")).is_ok());
        assert!(check_bind("[::1]:0".parse().expect("an address")).is_ok());
        let refused = check_bind("0.0.0.0:8080".parse().expect("an address")).expect_err("not loopback");
        assert!(refused.contains("127.0.0.1:8080"), "{refused}");
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
}
