//! Which names of subjects are those of container images.
//!
//! A statement names what it is about as it likes: a file, a URL of an attestor, an image. An image that is none joins
//! the lines of strangers, so only a name that a client of a registry could pull is one.

use std::net::Ipv4Addr;

use pedigraph_proto::ArtifactRef;

use super::provenance;

/// Schemes that say that an image follows.
const IMAGE_SCHEMES: [&str; 4] = ["oci", "docker", "docker-image", "docker-pullable"];

/// Hosts that keep sources: a name that begins with one is a module or a repository.
const SOURCE_HOSTS: [&str; 3] = ["github.com", "gitlab.com", "bitbucket.org"];

/// Endings of files that builds make, beside those that [`provenance::is_file`] knows.
const FILES: [&str; 12] =
    [".apk", ".bin", ".dmg", ".exe", ".img", ".msi", ".pdf", ".pkg", ".so", ".tar", ".txt", ".yaml"];

/// Whether a name that is no purl, and its parts, are those of an image in a registry.
pub(super) fn is_pullable(name: &str, reference: &ArtifactRef) -> bool {
    let Some((host, path)) = reference.repository.split_once('/') else { return false };
    let is_there = match name.trim().split_once("://") {
        None => is_registry(host),
        // Cloud Build alone writes images as addresses; any other address is that of a page or of an attestor.
        Some(("https", _)) => is_of_google(host),
        Some((scheme, _)) => IMAGE_SCHEMES.contains(&scheme) && is_registry(host),
    };
    let is_file = reference.tag.is_empty() && reference.digest.is_none() && is_file(path);
    is_there && is_repository(path) && !is_file
}

/// A host with a port or a domain, or this machine. A folder with a dot in its name (`release.d`, `python3.11`) has no
/// top-level domain.
fn is_registry(host: &str) -> bool {
    let (domain, port) = host.rsplit_once(':').map_or((host, None), |(domain, port)| (domain, Some(port)));
    if let Some(port) = port {
        return !domain.is_empty() && port.parse::<u16>().is_ok();
    }
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_top =
        |top: &str| top.len() > 1 && (top.starts_with("xn--") || top.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let has_domain = || domain.rsplit_once('.').is_some_and(|(_, top)| is_top(top)) && domain.split('.').all(is_label);
    let is_known = domain == "localhost" || domain.parse::<Ipv4Addr>().is_ok() || has_domain();
    is_known && !SOURCE_HOSTS.contains(&domain)
}

/// The registries of Google Cloud that hold images; those of other packages have other names.
fn is_of_google(host: &str) -> bool {
    host == "gcr.io" || host.ends_with(".gcr.io") || host.ends_with("-docker.pkg.dev")
}

/// Parts of letters, digits, dots, underscores and hyphens. Registries want small letters, and not all who name images
/// write them so.
fn is_repository(path: &str) -> bool {
    path.split('/').all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    })
}

fn is_file(path: &str) -> bool {
    provenance::is_file(path) || FILES.iter().any(|ending| path.ends_with(ending))
}
