//! A log that is served over HTTP, resource by resource.

use std::io::ErrorKind;
use std::time::Duration;

use pedigraph_ledger::Error;

use crate::client;

/// Largest resource of a log, bytes: a bundle of 256 entries of the largest size, with their lengths.
const RESOURCE_BYTES_MAX: u64 = 256 * 65_537;
/// How long one resource may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that are kept open: the check asks for so many resources at the same time.
const CONNECTIONS: usize = 8;

pub(super) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
    // A log is where its URL says.
    let config = config.max_redirects(0).tls_config(client::tls()).max_idle_connections_per_host(CONNECTIONS);
    config.max_idle_connections(CONNECTIONS).build().into()
}

/// One resource of a log that is served over HTTP; `None` when the server says that it does not exist.
pub(super) fn get(agent: &ureq::Agent, base: &str, token: Option<&str>, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let url = format!("{}/{path}", base.trim_end_matches('/'));
    let failed = |why: String| Error::Io(std::io::Error::other(format!("{url}: {why}")));
    // Hashes do not compress; a server that sends gzip unasked is understood all the same.
    let mut request = agent.get(&url).header("accept-encoding", "identity");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = request.call().map_err(|error| failed(error.to_string()))?;
    match response.status().as_u16() {
        200 => {
            let body = response.body_mut().with_config().limit(RESOURCE_BYTES_MAX).read_to_vec();
            Ok(Some(body.map_err(|error| failed(error.to_string()))?))
        }
        404 | 410 => Ok(None),
        status @ (401 | 403) => {
            Err(Error::Io(std::io::Error::new(ErrorKind::PermissionDenied, format!("{url}: HTTP {status}"))))
        }
        status => Err(failed(format!("HTTP {status}"))),
    }
}
