//! Names and versions of packages that are the same in several spellings, of which the canonical purl keeps more than
//! one (docs/decisions/021). Packages are shown as they were written, and compared by what stands here.

use std::borrow::Cow;

/// Names that advisories and tools have for one distribution; the first stands for all.
const SAME_DISTRIBUTION: [&[&str]; 6] = [
    &["redhat", "rhel"],
    &["rocky-linux", "rocky", "rockylinux"],
    &["almalinux", "alma"],
    &["suse", "sles", "sled"],
    &["opensuse", "opensuse-leap", "opensuse-tumbleweed", "opensuse.leap", "opensuse.tumbleweed"],
    &["azure-linux", "azurelinux", "mariner", "cbl-mariner"],
];

/// Whether packages of a type have names in several spellings.
pub(crate) fn has_spellings(kind: &str) -> bool {
    matches!(kind, "pypi" | "nuget" | "rpm")
}

/// The namespace that stands for all spellings of one.
pub(crate) fn namespace<'n>(kind: &str, namespace: &'n str) -> &'n str {
    let names = SAME_DISTRIBUTION.iter().find(|names| kind == "rpm" && names.contains(&namespace));
    names.and_then(|names| names.first()).copied().unwrap_or(namespace)
}

/// The name that stands for all spellings of one.
pub(crate) fn name<'n>(kind: &str, name: &'n str) -> Cow<'n, str> {
    match kind {
        // The same whatever separates their words (PEP 503).
        "pypi" => {
            let words = name.split(['.', '_', '-']).filter(|word| !word.is_empty());
            Cow::Owned(words.collect::<Vec<_>>().join("-").to_ascii_lowercase())
        }
        // Ids of NuGet are the same in any case.
        "nuget" => Cow::Owned(name.to_ascii_lowercase()),
        _ => Cow::Borrowed(name),
    }
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
