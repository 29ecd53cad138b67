//! Names and versions of packages that are the same in several spellings, of which the canonical purl keeps more than
//! one (docs/decisions/021). Packages are shown as they were written, and compared by what stands here.

use std::borrow::Cow;

use packageurl::PackageUrl;

/// Names that advisories and tools have for one distribution; the first stands for all.
const SAME_DISTRIBUTION: [&[&str]; 6] = [
    &["redhat", "rhel"],
    &["rocky-linux", "rocky", "rockylinux"],
    &["almalinux", "alma"],
    &["suse", "sles", "sled", "sles_sap", "sle_hpc", "sle-micro", "sl-micro"],
    &["opensuse", "opensuse-leap", "opensuse-tumbleweed", "opensuse.leap", "opensuse.tumbleweed"],
    &["azure-linux", "azurelinux", "mariner", "cbl-mariner"],
];

/// A package: type, namespace, name.
struct Named<'n>(&'n str, String, String);

/// Whether packages of a type have names in several spellings.
pub(crate) fn has_spellings(kind: &str) -> bool {
    matches!(kind, "pypi" | "nuget" | "rpm" | "golang" | "github" | "githubactions" | "swift")
}

/// The package, without version and qualifiers, in the one spelling that stands for all of its name.
pub(crate) fn package(parsed: &PackageUrl<'_>) -> Option<String> {
    let (namespace, name) = (parsed.namespace().unwrap_or_default(), parsed.name());
    let mut subpath = parsed.subpath();
    let Named(kind, namespace, name) = match parsed.ty() {
        // The same whatever separates their words (PEP 503).
        "pypi" => Named("pypi", namespace.to_owned(), joined_by_hyphens(name)),
        // Ids of NuGet are the same in any case.
        "nuget" => Named("nuget", namespace.to_owned(), name.to_ascii_lowercase()),
        "rpm" => Named("rpm", distribution(namespace).to_owned(), name.to_owned()),
        "golang" => module(namespace, name, subpath.take()),
        "githubactions" => Named("github", namespace.to_lowercase(), name.to_lowercase()),
        "swift" => repository(namespace, name),
        _ => return None,
    };
    Some(package_url(kind, &namespace, &name, subpath)?.to_string())
}

/// A package, taken apart without version and qualifiers.
pub(crate) fn package_url(
    kind: &str,
    namespace: &str,
    name: &str,
    subpath: Option<&str>,
) -> Option<PackageUrl<'static>> {
    let mut package = PackageUrl::new(kind.to_owned(), name.to_owned()).ok()?;
    if !namespace.is_empty() {
        package.with_namespace(namespace.to_owned()).ok()?;
    }
    if let Some(subpath) = subpath {
        package.with_subpath(subpath.to_owned()).ok()?;
    }
    Some(package)
}

/// The path of a Go module in small letters. Some tools have what follows its third part as the subpath. Go's own library
/// is `std` to the go command and `stdlib` to advisories.
fn module<'n>(namespace: &str, name: &str, subpath: Option<&str>) -> Named<'n> {
    let parts = [namespace, name, subpath.unwrap_or_default()];
    let path = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/").to_lowercase();
    match path.rsplit_once('/') {
        Some((namespace, name)) => Named("golang", namespace.to_owned(), name.to_owned()),
        None if path == "std" => Named("golang", String::new(), "stdlib".to_owned()),
        None => Named("golang", String::new(), path),
    }
}

/// Whether a subpath begins with the major version of a Go module: with it, it is another module than without.
pub(crate) fn is_major_version(subpath: &str) -> bool {
    let digits = subpath.split('/').next().and_then(|first| first.strip_prefix('v')).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Of `github.com/a/b.git` and the product that a Swift package builds, the repository.
fn repository<'n>(namespace: &str, name: &str) -> Named<'n> {
    let (namespace, name) = match namespace.strip_suffix(".git").and_then(|path| path.rsplit_once('/')) {
        Some(repository) => repository,
        None => (namespace, name.strip_suffix(".git").unwrap_or(name)),
    };
    Named("swift", namespace.to_owned(), name.to_owned())
}

fn distribution(namespace: &str) -> &str {
    let names = SAME_DISTRIBUTION.iter().find(|names| names.contains(&namespace));
    names.and_then(|names| names.first()).copied().unwrap_or(namespace)
}

fn joined_by_hyphens(name: &str) -> String {
    let words = name.split(['.', '_', '-']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// The version that stands for all spellings of one: Go and Composer write `v1.2` and `1.2`; of deb and rpm the epoch
/// stands before the version, in a qualifier or nowhere, and says nothing of which upstream version it is.
pub(crate) fn version<'v>(kind: &str, version: &'v str) -> &'v str {
    let begins_with_digit = |rest: &&str| rest.starts_with(|first: char| first.is_ascii_digit());
    match kind {
        "golang" | "composer" => version.strip_prefix('v').filter(begins_with_digit).unwrap_or(version),
        "deb" | "rpm" => match version.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            Some(_) | None => version,
        },
        _ => version,
    }
}

/// A version as the order of its type reads it: of deb and rpm with the epoch that a qualifier may have.
pub(crate) fn with_epoch<'v>(kind: &str, version: &'v str, epoch: impl FnOnce() -> Option<String>) -> Cow<'v, str> {
    let lacks_it = matches!(kind, "deb" | "rpm") && !version.is_empty() && !version.contains(':');
    match lacks_it.then(epoch).flatten() {
        Some(epoch) => Cow::Owned(format!("{epoch}:{version}")),
        None => Cow::Borrowed(version),
    }
}
