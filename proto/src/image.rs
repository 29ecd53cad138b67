//! What is said of container images by convention: how platforms are written, and what a registry keeps beside images
//! (signatures, attestations, SBOMs, build caches) that is no version of anything (SPEC §3.1).

use std::borrow::Cow;

use crate::Digest;

/// A platform as containerd normalizes it: `os/architecture[/variant]`, so that `linux/arm64/v8` is `linux/arm64`,
/// `linux/arm` is `linux/arm/v7` and `x86_64` is `amd64`.
///
/// Windows images of one architecture differ by the build that they need: it stands in parentheses, as containerd shows
/// it, `windows(10.0.17763)/amd64`; the revision behind the build is left out, since any host of the build runs it.
/// Empty when neither system nor architecture is known.
pub fn platform(os: &str, architecture: &str, variant: &str, os_version: &str) -> String {
    let (os, architecture) = (os.trim().to_ascii_lowercase(), architecture.trim().to_ascii_lowercase());
    if os.is_empty() && architecture.is_empty() {
        return String::new();
    }
    let system = match os.as_str() {
        "macos" => Cow::Borrowed("darwin"),
        "windows" if !os_version.trim().is_empty() => format!("windows({})", windows_build(os_version.trim())).into(),
        _ => Cow::Owned(os),
    };
    let (architecture, variant) = normal_architecture(architecture, variant.trim().to_ascii_lowercase());
    match variant.as_str() {
        "" => format!("{system}/{architecture}"),
        _ => format!("{system}/{architecture}/{variant}"),
    }
}

/// A platform that was written as one text, normalized like [`platform`]; what is no `os/architecture[/variant]` stays
/// as it is. Normalizing twice changes nothing, so facts of any age can be read through it.
pub fn normal_platform(text: &str) -> String {
    let parts: Vec<&str> = text.trim().split('/').collect();
    let (system, architecture, variant) = match parts.as_slice() {
        [system, architecture] => (*system, *architecture, ""),
        [system, architecture, variant] => (*system, *architecture, *variant),
        _ => return text.to_owned(),
    };
    let (os, version) = match system.split_once('(') {
        Some((os, version)) => (os, version.trim_end_matches(')')),
        None => (system, ""),
    };
    platform(os, architecture, variant, version)
}

/// `10.0.17763` of `10.0.17763.5329`.
fn windows_build(version: &str) -> &str {
    version.match_indices('.').nth(2).map_or(version, |(end, _)| &version[..end])
}

fn normal_architecture(architecture: String, variant: String) -> (String, String) {
    let known = |architecture: &str, variant: &str| (architecture.to_owned(), variant.to_owned());
    match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => known("386", ""),
        ("amd64" | "x86_64" | "x86-64" | "x64", "" | "v1") => known("amd64", ""),
        ("amd64" | "x86_64" | "x86-64" | "x64", variant) => known("amd64", variant),
        ("arm64" | "aarch64", "" | "8" | "v8" | "8.0" | "v8.0") => known("arm64", ""),
        ("arm64" | "aarch64", "9" | "9.0" | "v9.0") => known("arm64", "v9"),
        ("arm64" | "aarch64", variant) => known("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => known("arm", "v7"),
        ("armel", _) => known("arm", "v6"),
        ("arm", "5" | "6" | "8") => (architecture, format!("v{variant}")),
        _ => (architecture, variant),
    }
}

/// Whether a tag names evidence of another image rather than an image: `sha256-<hex>`, alone (OCI's referrers tag) or
/// with an ending such as `.sig`, `.att` or `.sbom` (cosign).
pub fn is_evidence_tag(tag: &str) -> bool {
    let Some((algorithm, rest)) = tag.split_once('-') else { return false };
    let (hex, ending) = rest.split_once('.').map_or((rest, None), |(hex, ending)| (hex, Some(ending)));
    // A tag holds 128 characters: OCI cuts longer digests to 64 digits.
    matches!(algorithm, "sha256" | "sha384" | "sha512" | "blake3")
        && hex.len() >= 64
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        && ending.is_none_or(|ending| !ending.is_empty())
}

/// The image that a tag says its artifact is evidence of, and the ending after it, as in cosign's `sha256-<hex>.sig`;
/// `None` for tags without an ending, and where the digest was cut.
pub fn evidence_of_tag(tag: &str) -> Option<(Digest, &str)> {
    let (image, ending) = tag.split_once('.').filter(|_| is_evidence_tag(tag))?;
    Some((image.replacen('-', ":", 1).parse().ok()?, ending))
}

/// Whether a tag can be the version of an image: any but none and those of evidence.
pub fn is_version_tag(tag: &str) -> bool {
    !tag.is_empty() && !is_evidence_tag(tag)
}

/// Whether a media or artifact type is that of a signature, an attestation, an SBOM, a scan or a build cache: what has
/// it is kept in a registry, but is no version of an image. The types of Helm charts, WebAssembly and the like are not.
pub fn is_evidence_type(media_type: &str) -> bool {
    const PREFIXES: [&str; 13] = [
        "application/vnd.dev.cosign.",
        "application/vnd.dev.sigstore.",
        "application/vnd.cncf.notary.",
        "application/vnd.in-toto",
        "application/vnd.dsse.",
        "application/vnd.buildkit.cacheconfig.",
        "application/vnd.docker.attestation.",
        "application/vnd.cyclonedx",
        "application/vnd.openvex",
        "application/vnd.goharbor.harbor.sbom.",
        "application/vnd.security.vulnerability.",
        "application/vnd.aquasec.trivy.",
        "application/vnd.syft",
    ];
    const TYPES: [&str; 11] = [
        "application/spdx+json",
        "application/sarif+json",
        "application/openvex+json",
        "application/csaf+json",
        "application/in-toto+json",
        "text/spdx",
        "text/spdx+json",
        "text/spdx+xml",
        // What BuildKit writes beside the manifests of an index that are attestations.
        "attestation-manifest",
        "application/x-sigstore-bundle+json",
        "application/spdx",
    ];
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    TYPES.contains(&essence.as_str()) || PREFIXES.iter().any(|prefix| essence.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_written_as_containerd_writes_them() {
        let check = |text: &str, want: &str| {
            assert_eq!(normal_platform(text), want, "{text}");
            assert_eq!(normal_platform(want), want, "{want} again");
        };
        check("linux/amd64", "linux/amd64");
        check("linux/amd64/v1", "linux/amd64");
        check("linux/amd64/v3", "linux/amd64/v3");
        check("Linux/x86_64", "linux/amd64");
        check("linux/x86-64/v1", "linux/amd64");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm64/v8", "linux/arm64");
        check("linux/arm64/8", "linux/arm64");
        check("linux/arm64/v9", "linux/arm64/v9");
        check("linux/arm", "linux/arm/v7");
        check("linux/arm/7", "linux/arm/v7");
        check("linux/arm/v6", "linux/arm/v6");
        check("linux/arm/6", "linux/arm/v6");
        check("linux/armhf", "linux/arm/v7");
        check("linux/armel", "linux/arm/v6");
        check("linux/i386", "linux/386");
        check("linux/ppc64le", "linux/ppc64le");
        check("linux/riscv64", "linux/riscv64");
        check("macOS/arm64", "darwin/arm64");
        check("windows/amd64", "windows/amd64");
        check("windows(10.0.17763.5329)/amd64", "windows(10.0.17763)/amd64");
        check("unknown/unknown", "unknown/unknown");
        check("wasm", "wasm");
        check("", "");
    }

    #[test]
    fn windows_images_are_told_apart_by_build() {
        let of = |version: &str| platform("windows", "amd64", "", version);
        assert_eq!(of("10.0.17763.5329"), of("10.0.17763.6189"), "a monthly update is the same platform");
        assert_ne!(of("10.0.17763.5329"), of("10.0.20348.2227"), "another build is not");
        assert_eq!(of(""), "windows/amd64");
        assert_eq!(platform("linux", "amd64", "", "6.1"), "linux/amd64", "other systems have no builds");
        assert_eq!(platform("", "", "v8", ""), "");
    }

    #[test]
    fn tags_of_evidence_are_no_versions() {
        let hex = "5f".repeat(32);
        for tag in ["sig", "att", "sbom", "vsa"] {
            assert!(is_evidence_tag(&format!("sha256-{hex}.{tag}")), "{tag}");
        }
        assert!(is_evidence_tag(&format!("sha256-{hex}")));
        assert!(is_evidence_tag(&format!("sha512-{hex}")), "cut to what a tag holds");
        for tag in ["1.4.2", "latest", "sha-4f2c1aa", "sha256-4f2c1aa", "v1.sig", "", "sha256-"] {
            assert!(!is_evidence_tag(tag), "{tag}");
        }
        assert!(is_version_tag("sha-4f2c1aa"));
        assert!(!is_version_tag(&format!("sha256-{hex}.sig")));
        assert!(!is_version_tag(""));
    }

    #[test]
    fn types_of_evidence_are_known() {
        for kind in [
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            "application/vnd.cncf.notary.signature",
            "application/vnd.in-toto+json",
            "application/vnd.buildkit.cacheconfig.v0",
            "application/vnd.cyclonedx+json; version=1.6",
            "attestation-manifest",
        ] {
            assert!(is_evidence_type(kind), "{kind}");
        }
        for kind in [
            "",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.wasm.config.v0+json",
        ] {
            assert!(!is_evidence_type(kind), "{kind}");
        }
    }
}
