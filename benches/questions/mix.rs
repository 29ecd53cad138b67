//! What is recorded: the life of artifacts in lines, as lines of ndjson in the order in which they are sent. A function
//! of the seed alone, without end, so that what flows in while questions are asked goes on where the filling stopped.

use base64::Engine as _;

use crate::said::PACKAGES;

/// Of so many artifacts one is of the long line, until that has [`LONG_LINE_MAX`].
const LONG_LINE_EVERY: u64 = 5;
/// Versions of the long line.
const LONG_LINE_MAX: u64 = 20_000;
/// Versions of every other line, when all have come.
const LINE_VERSIONS: u64 = 100;
/// Environments, each with all services.
pub(crate) const ENVIRONMENTS: u64 = 10;
/// Most services of an environment.
const SERVICES_MAX: u64 = 1_000;
/// Services whose running version is deployed again and again, in an environment of their own.
const RESTLESS_SERVICES: u64 = 50;
/// Of what flows in afterwards so many are deployments of what is there, for each new artifact.
const NEW_EVERY: u64 = 40;
/// Components of an SBOM; two of them change from one version to the next.
pub(crate) const COMPONENTS: u64 = 40;
const COMPONENT_VERSIONS_EACH: u64 = 20;
/// Every so many artifacts one has a component that hardly anybody has.
const RARE_EVERY: u64 = 997;
/// Names of that component: so many are rare, however many artifacts there are, each has its share.
const RARE_SHARED_BY: u64 = 3;
/// Versions of the component that ranges are asked about.
const RANGED_VERSIONS: u64 = 200;
/// Seconds between two artifacts, and by how many a late event is late at most.
const SECONDS_EACH: u64 = 40;
const LATE_SECONDS_MAX: u64 = 200_000;
/// What deployments are called.
const DEPLOYED: &str = "service-deployed";
/// 2024-01-01T00:00:00Z.
pub(crate) const BEGIN_SECONDS: u64 = 1_704_067_200;

/// How the artifacts are laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Of everything that is drawn.
    pub(crate) seed: u64,
    /// Artifacts of the filling, bases among them.
    pub(crate) artifacts: u64,
}

/// Where an artifact stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// 0: the long one.
    pub(crate) line: u64,
    /// From 0.
    pub(crate) version: u64,
}

/// Evenly spread bits of a number, as splitmix64 does it.
fn spread(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

impl Mix {
    /// Base images, of which the first is under half of everything, and under the others.
    pub(crate) fn bases(self) -> u64 {
        (self.artifacts / 1_000).max(2)
    }

    /// Lines, the long one among them.
    pub(crate) fn lines(self) -> u64 {
        (self.artifacts / LINE_VERSIONS).max(2)
    }

    /// Services of each environment.
    pub(crate) fn services(self) -> u64 {
        (self.artifacts / ENVIRONMENTS).clamp(1, SERVICES_MAX)
    }

    /// A number below `below`, for the n-th thing of a kind.
    pub(crate) fn draw(self, kind: &str, n: u64, below: u64) -> u64 {
        let kind = kind.bytes().fold(self.seed, |hash, byte| spread(hash ^ u64::from(byte)));
        spread(kind ^ spread(n)) % below
    }

    pub(crate) fn hex(self, kind: &str, n: u64) -> String {
        (0..4).map(|part| format!("{:016x}", self.draw(kind, n * 4 + part, u64::MAX))).collect()
    }

    /// Of the n-th artifact.
    pub(crate) fn digest(self, n: u64) -> String {
        format!("sha256:{}", self.hex("artifact", n))
    }

    /// Of the commit from which it was built.
    pub(crate) fn commit(self, n: u64) -> String {
        self.hex("commit", n)[..40].to_owned()
    }

    /// Of the n-th artifact; the first ones are bases, which are the last line.
    pub(crate) fn place(self, n: u64) -> Place {
        let Some(n) = n.checked_sub(self.bases()) else { return Place { line: self.lines(), version: n } };
        let long = n.div_ceil(LONG_LINE_EVERY).min(LONG_LINE_MAX);
        if n.is_multiple_of(LONG_LINE_EVERY) && n / LONG_LINE_EVERY < LONG_LINE_MAX {
            return Place { line: 0, version: n / LONG_LINE_EVERY };
        }
        let others = self.lines() - 1;
        Place { line: 1 + (n - long) % others, version: (n - long) / others }
    }

    /// An artifact of the long line.
    pub(crate) fn of_long_line(self, n: u64) -> u64 {
        let most = (self.artifacts - self.bases()).div_ceil(LONG_LINE_EVERY).min(LONG_LINE_MAX);
        self.bases() + (n % most) * LONG_LINE_EVERY
    }

    /// Where it is published.
    pub(crate) fn repository(self, line: u64) -> String {
        if line == self.lines() {
            return "registry.example/base/os".to_owned();
        }
        format!("registry.example/team-{}/app-{line}", line % 20)
    }

    /// As deployments name it.
    pub(crate) fn reference(self, n: u64) -> String {
        let place = self.place(n);
        format!("{}:1.{}.0", self.repository(place.line), place.version)
    }

    /// Under which image it is.
    fn base(self, n: u64) -> u64 {
        if n < self.bases() || n.is_multiple_of(2) { 0 } else { 1 + self.draw("base", n, self.bases() - 1) }
    }

    /// The environment and service to which it is deployed: its line's, in turns.
    pub(crate) fn lane(self, n: u64) -> (String, String) {
        let (place, services) = (self.place(n), self.services());
        let turn = place.version + place.line / services;
        let each = (services / self.lines()).max(1);
        let service = (place.line + self.lines() * (turn / ENVIRONMENTS % each)) % services;
        (format!("env-{}", turn % ENVIRONMENTS), format!("service-{service}"))
    }

    /// A package that few artifacts have.
    pub(crate) fn rare(self, n: u64) -> String {
        format!("pkg:npm/rare-{}@1.0.0", n / RARE_EVERY / RARE_SHARED_BY)
    }

    fn time(self, n: u64, step: u64) -> String {
        let late = self.draw("is late", n * 8 + step, 50) == 0;
        let late = if late { self.draw("late", n * 8 + step, LATE_SECONDS_MAX) } else { 0 };
        stamp(BEGIN_SECONDS + (n * SECONDS_EACH + step).saturating_sub(late))
    }

    /// A moment between the first artifact and the last.
    pub(crate) fn moment(self, n: u64) -> String {
        stamp(BEGIN_SECONDS + self.draw("moment", n, self.artifacts) * SECONDS_EACH)
    }

    pub(crate) fn event(self, n: u64, step: u64, name: &str, data: &str) -> String {
        event(&format!("{name}-{n}-{step}"), &self.time(n, step), name, data)
    }

    fn packaged(self, n: u64) -> String {
        let (base, line) = (self.base(n), self.place(n).line);
        let under = if n == 0 {
            String::new()
        } else {
            format!(r#","baseDigest":"{}","baseRef":"{}""#, self.digest(base), self.reference(base))
        };
        self.event(n, 0, "artifact-packaged", &format!(
            r#"{{"artifactDigest":"{}","artifactRef":"{}","kind":"container_image","commit":"{}","repository":"https://git.example/app-{line}","run":"https://ci.example/app-{line}/runs/{n}","pipeline":"release"{under}}}"#,
            self.digest(n), self.reference(n), self.commit(n)
        ))
    }

    fn published(self, n: u64) -> String {
        let data = format!(
            r#"{{"artifactDigest":"{}","artifactRef":"{}","kind":"container_image"}}"#,
            self.digest(n),
            self.reference(n)
        );
        self.event(n, 1, "artifact-published", &data)
    }

    /// The newest of its line.
    fn tagged(self, n: u64) -> String {
        let repository = self.repository(self.place(n).line);
        let data = format!(r#"{{"repository":"{repository}","tag":"latest","digest":"{}"}}"#, self.digest(n));
        self.event(n, 2, "tag-observed", &data)
    }

    fn deployment(self, n: u64, environment: &str, service: &str) -> String {
        format!(
            r#"{{"service":"{service}","environment":"{environment}","artifactDigest":"{}","artifactRef":"{}","actor":"release-bot"}}"#,
            self.digest(n),
            self.reference(n)
        )
    }

    fn deployed(self, n: u64) -> String {
        let (environment, service) = self.lane(n);
        self.event(n, 3, DEPLOYED, &self.deployment(n, &environment, &service))
    }

    /// Again and again the same in the lanes that know no rest; every hundredth is another one.
    fn redeployed(self, n: u64) -> String {
        let (service, round) = (n % RESTLESS_SERVICES, n / RESTLESS_SERVICES / 100);
        let running = self.bases() + (round * RESTLESS_SERVICES + service) % (self.artifacts - self.bases());
        self.event(n, 4, DEPLOYED, &self.deployment(running, "restless", &format!("service-{service}")))
    }

    /// The number of the package that a component of the n-th artifact is.
    pub(crate) fn package(self, n: u64, component: u64) -> u64 {
        (self.place(n).line * 7 + component) % PACKAGES
    }

    fn components(self, n: u64) -> Vec<(String, String)> {
        let Place { line, version } = self.place(n);
        let of_line = |c: u64| (format!("pkg:npm/lib-{}", self.package(n, c)), component_version(version, c));
        let mut found: Vec<_> = (0..COMPONENTS).map(of_line).collect();
        found.push(("pkg:npm/everywhere".to_owned(), "4.17.21".to_owned()));
        if n.is_multiple_of(10) {
            found.push(("pkg:npm/ranged".to_owned(), format!("1.{}.0", (line + version) % RANGED_VERSIONS)));
        }
        if n.is_multiple_of(RARE_EVERY) {
            let rare = self.rare(n);
            found.push((rare.trim_end_matches("@1.0.0").to_owned(), "1.0.0".to_owned()));
        }
        found.extend(self.of_thousand(n));
        found
    }

    /// A CycloneDX document as it is; sent again it has another serial number.
    fn sbom(self, n: u64, sent: u64) -> String {
        let serial = self.hex("serial number", n * 2 + sent);
        cyclonedx(&serial, &self.time(n, 3), &self.reference(n), &self.digest(n), &self.components(n))
    }

    /// A DSSE envelope with SLSA provenance.
    fn provenance(self, n: u64) -> String {
        let line = self.place(n).line;
        let statement = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"name":"{}","digest":{{"sha256":"{}"}}}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{{"buildDefinition":{{"buildType":"https://ci.example/release/v1","externalParameters":{{"repository":"https://git.example/app-{line}"}},"resolvedDependencies":[{{"uri":"git+https://git.example/app-{line}","digest":{{"gitCommit":"{}"}}}}]}},"runDetails":{{"builder":{{"id":"https://ci.example/app-{line}"}},"metadata":{{"invocationId":"https://ci.example/app-{line}/runs/{n}","startedOn":"{}"}}}}}}}}"#,
            self.repository(line),
            &self.digest(n)[7..],
            self.commit(n),
            self.time(n, 5)
        );
        let payload = base64::engine::general_purpose::STANDARD.encode(statement);
        format!(
            r#"{{"payloadType":"application/vnd.in-toto+json","payload":"{payload}","signatures":[{{"keyid":"k","sig":"AAAA"}}]}}"#
        )
    }

    /// Whether the n-th artifact has an SBOM.
    pub(crate) fn is_described(self, n: u64) -> bool {
        self.draw("sbom", n, 100) < 90
    }

    /// What is sent about the n-th artifact.
    pub(crate) fn lines_of(self, n: u64) -> Vec<String> {
        let chance = |what: &str, percent: u64| self.draw(what, n, 100) < percent;
        let mut lines = vec![self.packaged(n)];
        if chance("published", 60) {
            lines.push(self.published(n));
        }
        if chance("duplicate", 5) {
            lines.push(lines[0].clone());
        }
        if chance("tagged", 10) {
            lines.push(self.tagged(n));
        }
        if self.is_described(n) {
            lines.push(self.sbom(n, 0));
        }
        if chance("sbom again", 10) {
            lines.push(self.sbom(n, 1));
        }
        if chance("provenance", 25) {
            lines.push(self.provenance(n));
        }
        if chance("scanned", 20) {
            lines.push(self.scanned(n));
        }
        if n >= self.bases() {
            lines.push(self.deployed(n));
        }
        if chance("redeployed", 20) {
            lines.push(self.redeployed(n));
        }
        lines
    }

    /// Before anything else: every lane runs something.
    pub(crate) fn first_deployments(self) -> impl Iterator<Item = String> {
        (0..ENVIRONMENTS * self.services()).map(move |lane| {
            let (environment, service) = (lane / self.services(), lane % self.services());
            let n = self.bases() + lane % (self.artifacts - self.bases());
            let data = self.deployment(n, &format!("env-{environment}"), &format!("service-{service}"));
            event(&format!("first-{lane}"), &stamp(BEGIN_SECONDS), DEPLOYED, &data)
        })
    }

    /// The whole filling.
    pub(crate) fn filling(self) -> impl Iterator<Item = String> {
        self.first_deployments().chain(self.said()).chain((0..self.artifacts).flat_map(move |n| self.lines_of(n)))
    }

    /// What comes after it: what is there is deployed again, to the lanes of its line, and now and then something new
    /// comes, so that a small filling stays small while it is asked about.
    pub(crate) fn flow(self) -> impl Iterator<Item = String> {
        (0..).flat_map(move |n| match n % NEW_EVERY {
            0 => self.lines_of(self.artifacts + n / NEW_EVERY),
            _ => vec![self.rolled_out(n)],
        })
    }

    /// An artifact of the filling goes to a lane of its line as if it were the next version.
    fn rolled_out(self, n: u64) -> String {
        let artifact = self.bases() + self.draw("rolled out", n, self.artifacts - self.bases());
        let (environment, service) = self.lane(artifact);
        let data = self.deployment(artifact, &environment, &service);
        event(&format!("rolled-out-{n}"), &stamp(BEGIN_SECONDS + self.artifacts * SECONDS_EACH + n), DEPLOYED, &data)
    }
}

/// A CycloneDX document as it is, of something with a digest.
pub(crate) fn cyclonedx(
    serial: &str,
    time: &str,
    reference: &str,
    digest: &str,
    components: &[(String, String)],
) -> String {
    let listed: Vec<String> = components.iter().map(|(purl, version)| {
        let name = purl.rsplit('/').next().unwrap_or_default();
        format!(r#"{{"type":"library","name":"{name}","version":"{version}","purl":"{purl}@{version}","bom-ref":"{purl}@{version}"}}"#)
    }).collect();
    format!(
        r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:{}-{}-4{}-8{}-{}","version":1,"metadata":{{"timestamp":"{time}","tools":{{"components":[{{"type":"application","name":"maker"}}]}},"component":{{"type":"container","name":"{}","version":"{}","hashes":[{{"alg":"SHA-256","content":"{}"}}]}}}},"components":[{}]}}"#,
        &serial[..8],
        &serial[8..12],
        &serial[13..16],
        &serial[17..20],
        &serial[20..32],
        reference.rsplit_once(':').map_or("", |(name, _)| name),
        reference.rsplit_once(':').map_or("", |(_, tag)| tag),
        &digest[7..],
        listed.join(",")
    )
}

/// Of a component, in a version of a line.
pub(crate) fn component_version(version: u64, component: u64) -> String {
    format!("1.{}.0", (version + component) / COMPONENT_VERSIONS_EACH)
}

/// So many days after the beginning.
pub(crate) fn begin(days: u64) -> String {
    stamp(BEGIN_SECONDS + days * 86_400)
}

/// A CloudEvent of our own type.
pub(crate) fn event(id: &str, time: &str, name: &str, data: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/mix","type":"io.pedigraph.{name}.v1","time":"{time}","datacontenttype":"application/json","data":{data}}}"#
    )
}

/// Seconds since 1970 as RFC 3339.
pub(crate) fn stamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The civil date of a day number; years begin in March, so that leap days are last (Hinnant's algorithm).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 { (year_of_era, month + 3) } else { (year_of_era + 1, month - 9) };
    format!(
        "{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        era * 400 + year,
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}
