//! What is said of the artifacts: advisories, statements and scans, and versions of one large application, whose
//! differences are asked for. All of it is there before the first artifact of [`Mix`] but the scans, which follow
//! theirs.

use crate::mix::{Mix, stamp};

/// Packages of which components of lines are made, each with an advisory and a statement of each issuer.
pub(crate) const PACKAGES: u64 = 500;
/// Who issues statements; each says something of every package.
const ISSUERS: u64 = 3;
/// Statements of one document.
const STATEMENTS_EACH: u64 = 50;
/// Artifacts that have the package of which there is one advisory for all, however many artifacts there are.
const THOUSAND: u64 = 1_000;
/// Versions of that package.
const THOUSAND_VERSIONS: u64 = 50;
/// Findings of a scan.
const FINDINGS: u64 = 3;
/// Versions of the large application, each with so many components.
pub(crate) const LARGE_VERSIONS: u64 = 8;
const LARGE_COMPONENTS: u64 = 2_000;
/// Of the components of the large application, one of so many has another version in each of its versions, one of so
/// many is of that version alone, and of one of so many there are an advisory and a statement.
const LARGE_CHANGED_EVERY: u64 = 20;
const LARGE_OWN_EVERY: u64 = 100;
const LARGE_SAID_EVERY: u64 = 10;
/// What the advisory for the thousand is called.
pub(crate) const OF_THOUSAND: &str = "CVE-2023-1000";
/// The package of the thousand.
pub(crate) const THOUSAND_PACKAGE: &str = "pkg:npm/thousand";

impl Mix {
    /// The component by which the n-th artifact is one of the thousand.
    pub(crate) fn of_thousand(self, n: u64) -> Option<(String, String)> {
        let every = (self.artifacts / THOUSAND).max(1);
        let version = || format!("1.{}.0", n / every % THOUSAND_VERSIONS);
        n.is_multiple_of(every).then(|| (THOUSAND_PACKAGE.to_owned(), version()))
    }

    /// A vulnerability of which something is said, and an artifact that it concerns.
    pub(crate) fn concerned(self, n: u64) -> (String, String) {
        let drawn = self.bases() + self.draw("concerned", n, self.artifacts - self.bases());
        let described = (drawn..self.artifacts).chain(self.bases()..drawn).find(|n| self.is_described(*n));
        let artifact = described.unwrap_or(drawn);
        (self.digest(artifact), of_package(self.package(artifact, self.draw("component", n, crate::mix::COMPONENTS))))
    }

    /// Of the large application.
    pub(crate) fn large_digest(self, version: u64) -> String {
        format!("sha256:{}", self.hex("large", version))
    }

    /// Advisories, statements and the large application.
    pub(crate) fn said(self) -> impl Iterator<Item = String> {
        let advisories = (0..PACKAGES).map(move |package| {
            advisory(&of_package(package), &format!("lib-{package}"), self.draw("fixed", package, 10))
        });
        let large = (0..LARGE_COMPONENTS / LARGE_SAID_EVERY).map(|nth| {
            advisory(&of_large(nth), &format!("large-{}", nth * LARGE_SAID_EVERY), 1 + nth / 4 % LARGE_VERSIONS)
        });
        let thousand = std::iter::once(advisory(OF_THOUSAND, "thousand", THOUSAND_VERSIONS));
        let documents = (0..ISSUERS * PACKAGES / STATEMENTS_EACH).map(move |document| self.statements(document));
        let applications = (0..LARGE_VERSIONS).flat_map(move |version| self.large(version));
        advisories.chain(large).chain(thousand).chain(documents).chain(large_statements()).chain(applications)
    }

    /// What one issuer says of some packages, of all of their versions.
    fn statements(self, document: u64) -> String {
        let each = PACKAGES / STATEMENTS_EACH;
        let (issuer, first) = (document / each, document % each * STATEMENTS_EACH);
        let said: Vec<String> = (first..first + STATEMENTS_EACH)
            .map(|package| {
                let status = self.draw("says", issuer * PACKAGES + package, 4);
                statement(&of_package(package), &format!("pkg:npm/lib-{package}"), status)
            })
            .collect();
        openvex(issuer, document, &said)
    }

    /// A scan that finds some of what is said.
    pub(crate) fn scanned(self, n: u64) -> String {
        let version = self.place(n).version;
        let found: Vec<String> = (0..FINDINGS)
            .map(|nth| {
                let component = self.draw("found", n * FINDINGS + nth, crate::mix::COMPONENTS);
                let (package, installed) = (self.package(n, component), crate::mix::component_version(version, component));
                format!(
                    r#"{{"vulnerability":"{}","purl":"pkg:npm/lib-{package}@{installed}","installedVersion":"{installed}","severity":"high"}}"#,
                    of_package(package)
                )
            })
            .collect();
        let data = format!(
            r#"{{"artifactDigest":"{}","scanner":"scanner","target":"image","findings":[{}]}}"#,
            self.digest(n),
            found.join(",")
        );
        self.event(n, 6, "scan-completed", &data)
    }

    /// A version of the large application, published and described.
    fn large(self, version: u64) -> [String; 2] {
        let (digest, reference) = (self.large_digest(version), format!("registry.example/large/app:1.{version}.0"));
        let time = crate::mix::begin(version);
        let published = crate::mix::event(
            &format!("large-{version}"),
            &time,
            "artifact-published",
            &format!(r#"{{"artifactDigest":"{digest}","artifactRef":"{reference}","kind":"container_image"}}"#),
        );
        let components: Vec<_> = (0..LARGE_COMPONENTS)
            .map(|nth| match nth {
                _ if nth % LARGE_OWN_EVERY == 1 => (format!("pkg:npm/large-own-{version}-{nth}"), "1.0.0".to_owned()),
                _ if nth % LARGE_CHANGED_EVERY == 0 => (format!("pkg:npm/large-{nth}"), format!("1.{version}.0")),
                _ => (format!("pkg:npm/large-{nth}"), "1.0.0".to_owned()),
            })
            .collect();
        [published, crate::mix::cyclonedx(&self.hex("large serial", version), &time, &reference, &digest, &components)]
    }
}

/// The vulnerability of a package.
fn of_package(package: u64) -> String {
    format!("CVE-2024-{}", 10_000 + package)
}

/// That of the n-th component of the large application of which something is said.
fn of_large(nth: u64) -> String {
    format!("CVE-2024-{}", 20_000 + nth)
}

/// An OSV document: everything below `1.<fixed>.0` is affected.
fn advisory(id: &str, package: &str, fixed: u64) -> String {
    let time = stamp(crate::mix::BEGIN_SECONDS);
    format!(
        r#"{{"schema_version":"1.6.0","id":"OSV-{id}","aliases":["{id}"],"published":"{time}","modified":"{time}","affected":[{{"package":{{"ecosystem":"npm","name":"{package}"}},"ranges":[{{"type":"SEMVER","events":[{{"introduced":"0"}},{{"fixed":"1.{fixed}.0"}}]}}]}}]}}"#
    )
}

/// One statement of an OpenVEX document.
fn statement(id: &str, product: &str, status: u64) -> String {
    let status = match status {
        0 => r#""affected","action_statement":"update""#,
        1 => r#""under_investigation""#,
        2 => r#""fixed""#,
        _ => r#""not_affected","justification":"vulnerable_code_not_in_execute_path""#,
    };
    format!(r#"{{"vulnerability":{{"name":"{id}"}},"products":[{{"@id":"{product}"}}],"status":{status}}}"#)
}

fn openvex(issuer: u64, document: u64, statements: &[String]) -> String {
    format!(
        r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://issuer-{issuer}.example/vex/{document}","author":"issuer-{issuer}","timestamp":"{}","version":1,"statements":[{}]}}"#,
        stamp(crate::mix::BEGIN_SECONDS),
        statements.join(",")
    )
}

/// What one issuer says of components of the large application.
fn large_statements() -> impl Iterator<Item = String> {
    let all = LARGE_COMPONENTS / LARGE_SAID_EVERY;
    (0..all / STATEMENTS_EACH).map(|document| {
        let said: Vec<String> = (document * STATEMENTS_EACH..(document + 1) * STATEMENTS_EACH)
            .map(|nth| statement(&of_large(nth), &format!("pkg:npm/large-{}", nth * LARGE_SAID_EVERY), nth % 4))
            .collect();
        openvex(0, 1_000 + document, &said)
    })
}
