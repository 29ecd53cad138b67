//! What the demo tells: a canary that goes wrong, a library that must be found everywhere, a tag that moved, a deploy
//! without metadata, a message that cannot be read. Pure: the same seed and start give the same bytes.

use pedigraph_proto::canonical::sha256;
use pedigraph_proto::{Digest, Nanos};
use serde_json::{Value, json};

/// One Kafka message of the story.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) topic: &'static str,
    pub(crate) key: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) value: Vec<u8>,
}

/// The story and what to look at in it.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) messages: Vec<Told>,
    /// The canary that went wrong.
    pub(crate) canary: Digest,
    /// The library of the sweep.
    pub(crate) library: &'static str,
}

const CI: &str = "pedigraph.ci";
const CD: &str = "pedigraph.cd";
const SCANNER: &str = "pedigraph.scanner";
const MINUTE: i64 = 60_000_000_000;
/// Who makes the shop's images, and may say that one is not affected.
pub(crate) const MAKER: &str = "shop platform team";
/// The vulnerability that the story is about.
pub(crate) const VULNERABILITY: &str = "CVE-2021-44228";
const LIBRARY: &str = "pkg:maven/org.apache.logging.log4j/log4j-core";

/// Writes messages; knows the seed and the moment that the story ends at.
struct Teller {
    seed: u64,
    now: i64,
    messages: Vec<Told>,
}

/// A built version of a service.
#[derive(Clone)]
struct Image {
    service: &'static str,
    version: &'static str,
    digest: Digest,
    commit: String,
    run: String,
}

/// The whole story, ending at `now`, then `extra` builds and deployments of further services.
pub(crate) fn tell(seed: u64, now: Nanos, extra: u64) -> Story {
    let mut teller = Teller { seed, now: now.0, messages: Vec::new() };
    let base = teller.base_image();
    let canary = teller.canary(&base);
    teller.sweep(&base);
    teller.loose_ends();
    for n in 0..extra {
        let message = trickle(seed, Nanos(teller.now), n);
        teller.messages.push(message);
    }
    Story { messages: teller.messages, canary, library: LIBRARY }
}

/// The n-th message of the live trickle: a service of many, deployed to staging.
pub(crate) fn trickle(seed: u64, now: Nanos, n: u64) -> Told {
    let mut teller = Teller { seed, now: now.0, messages: Vec::new() };
    let service = format!("web-{:02}", n % 40);
    let digest = teller.made_up(&format!("{service}:{n}"));
    let purl = format!(
        "pkg:oci/{service}@{}?repository_url=registry.example/shop/{service}&tag=1.0.{n}",
        digest.as_str().replace(':', "%3A")
    );
    teller.deploy_event(&format!("trickle-{n}"), 0, &service, "staging", &purl, json!({"actor": "deploy-bot"}));
    teller.messages.remove(0)
}

impl Teller {
    fn made_up(&self, what: &str) -> Digest {
        Digest::sha256(sha256(format!("{}/{what}", self.seed).as_bytes()))
    }

    fn commit_hash(&self, what: &str) -> String {
        self.made_up(&format!("commit {what}")).hex()[..40].to_owned()
    }

    fn time(&self, minutes_ago: i64) -> String {
        Nanos(self.now - minutes_ago * MINUTE).to_string()
    }

    fn send(&mut self, topic: &'static str, key: &str, headers: &[(&str, &str)], value: Vec<u8>) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.messages.push(Told { topic, key: key.to_owned(), headers, value });
    }

    /// A CDEvent in a CloudEvent, binary mode.
    fn cdevent(&mut self, kind: &str, id: &str, minutes_ago: i64, subject: &str, content: Value, custom: Value) {
        let topic = if kind.contains(".service.") { CD } else { CI };
        let (time, id) = (self.time(minutes_ago), format!("{}-{id}", self.seed));
        let source = "/pipelines/shop";
        let event = json!({
            "context": {"specversion": "0.5.1", "id": id, "source": source, "type": kind, "timestamp": time},
            "subject": {"id": subject, "source": source, "content": content},
            "customData": custom, "customDataContentType": "application/json",
        });
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", id.as_str()),
            ("ce_source", source),
            ("ce_type", kind),
            ("ce_time", time.as_str()),
            ("content-type", "application/json"),
        ];
        self.send(topic, subject, &headers, event.to_string().into_bytes());
    }

    /// An event of our own type in a structured CloudEvent.
    fn own_event(&mut self, topic: &'static str, kind: &str, id: &str, minutes_ago: i64, data: Value) {
        let event = json!({
            "specversion": "1.0", "id": format!("{}-{id}", self.seed), "source": "/pipelines/shop",
            "type": format!("io.pedigraph.{kind}.v1"), "time": self.time(minutes_ago), "data": data,
        });
        let headers = [("content-type", "application/cloudevents+json")];
        self.send(topic, id, &headers, event.to_string().into_bytes());
    }

    fn document(&mut self, topic: &'static str, subject: &Digest, document: &Value) {
        let headers = [("pedigraph-subject", subject.as_str()), ("content-type", "application/json")];
        self.send(topic, subject.as_str(), &headers, document.to_string().into_bytes());
    }

    fn base_image(&mut self) -> Digest {
        let digest = self.made_up("alpine:3.20");
        self.own_event(
            CI,
            "tag-observed",
            "alpine",
            60 * 24 * 20,
            json!({"repository": "docker.io/library/alpine", "tag": "3.20", "digest": digest}),
        );
        digest
    }

    /// S1: version 2.3.0 goes out as a canary with a stale configuration and one skipped test; it is rolled back.
    fn canary(&mut self, base: &Digest) -> Digest {
        let stable = self.build(
            "cart",
            "2.2.0",
            60 * 50,
            base,
            &[("pkg:npm/express@4.19.2", &[]), ("pkg:npm/lodash@4.17.21", &[])],
        );
        self.tests(&stable, 60 * 50 - 8, "success", 212, 0);
        self.deploy(
            &stable,
            "staging",
            60 * 49,
            json!({"actor": "deploy-bot", "configDigest": self.made_up("cart config 7")}),
        );
        self.deploy(
            &stable,
            "prod",
            60 * 48,
            json!({"actor": "deploy-bot", "configDigest": self.made_up("cart config 7"), "strategy": "rolling"}),
        );
        let canary =
            self.build("cart", "2.3.0", 190, base, &[("pkg:npm/express@4.21.0", &[]), ("pkg:npm/lodash@4.17.21", &[])]);
        self.tests(&canary, 180, "success", 213, 1);
        self.deploy(
            &canary,
            "staging",
            120,
            json!({"actor": "deploy-bot", "configDigest": self.made_up("cart config 8")}),
        );
        let stale = json!({"actor": "deploy-bot", "configDigest": self.made_up("cart config 6"), "strategy": "canary", "weight": 10, "reason": "canary of 2.3.0"});
        self.deploy(&canary, "prod", 45, stale);
        self.own_event(CD, "canary-changed", "canary-end", 20, json!({
            "service": "cart", "environment": "prod", "artifactDigest": canary.digest,
            "artifactRef": canary.reference(), "weight": 0, "actor": "on-call", "reason": "5xx on the canary's digest",
        }));
        self.tag_moved(&stable, &canary);
        canary.digest
    }

    /// A tag that pointed at 2.3.0 for an hour points at 2.2.0 again.
    fn tag_moved(&mut self, stable: &Image, canary: &Image) {
        for (id, image, minutes_ago) in [("tag-1", stable, 60 * 49), ("tag-2", canary, 75), ("tag-3", stable, 15)] {
            let data = json!({"repository": "registry.example/shop/cart", "tag": "stable", "digest": image.digest});
            self.own_event(CI, "tag-observed", id, minutes_ago, data);
        }
    }

    /// S2: log4j-core 2.14.1 is in three functions, in one of them only through another library; one is patched
    /// already, and who makes another one says that it is not affected. An advisory names the library.
    fn sweep(&mut self, base: &Digest) {
        let direct: &[(&str, &[&str])] = &[("pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", &[])];
        let deep: &[(&str, &[&str])] = &[
            ("pkg:maven/com.example/pdf-kit@3.1.0", &["pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"]),
            ("pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", &[]),
        ];
        let patched: &[(&str, &[&str])] = &[("pkg:maven/org.apache.logging.log4j/log4j-core@2.17.1", &[])];
        for (service, version, components, days) in
            [("thumbnails", "1.8.2", direct, 9), ("invoices", "4.0.1", deep, 6), ("search", "1.4.0", direct, 12)]
        {
            let image = self.build(service, version, 60 * 24 * days, base, components);
            self.deploy(&image, "prod", 60 * 24 * days - 30, json!({"actor": "deploy-bot"}));
            self.scan(&image, 60 * 24 * days - 20);
        }
        let fixed = self.build("search", "1.4.1", 100, base, patched);
        self.deploy(&fixed, "prod", 85, json!({"actor": "deploy-bot", "reason": VULNERABILITY}));
        self.advisory(95);
        self.not_affected("thumbnails", 80);
    }

    fn advisory(&mut self, minutes_ago: i64) {
        let range = json!({"type": "ECOSYSTEM", "events": [{"introduced": "2.13.0"}, {"fixed": "2.15.0"}]});
        let osv = json!({
            "schema_version": "1.6.0", "id": "GHSA-jfh8-c2jp-5v3q", "aliases": [VULNERABILITY],
            "modified": self.time(minutes_ago), "published": self.time(minutes_ago),
            "summary": "Remote code injection in Log4j",
            "affected": [{
                "package": {"ecosystem": "Maven", "name": "org.apache.logging.log4j:log4j-core", "purl": LIBRARY},
                "ranges": [range],
            }],
            "database_specific": {"severity": "CRITICAL"},
        });
        self.send(SCANNER, "advisory", &[("content-type", "application/json")], osv.to_string().into_bytes());
    }

    fn not_affected(&mut self, service: &str, minutes_ago: i64) {
        let time = self.time(minutes_ago);
        let vex = json!({
            "@context": "https://openvex.dev/ns/v0.2.0", "@id": format!("https://shop.example/vex/{}/{service}", self.seed),
            "author": MAKER, "timestamp": time, "version": 1,
            "statements": [{
                "vulnerability": {"name": VULNERABILITY},
                "products": [{"@id": format!("pkg:oci/{service}"), "subcomponents": [{"@id": format!("{LIBRARY}@2.14.1")}]}],
                "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path",
                "impact_statement": "message lookups are disabled",
            }],
        });
        self.send(SCANNER, service, &[("content-type", "application/json")], vex.to_string().into_bytes());
    }

    /// A deploy without a digest, and a message that cannot be read.
    fn loose_ends(&mut self) {
        let purl = "pkg:oci/legacy?repository_url=registry.example/shop/legacy&tag=7";
        self.deploy_event("legacy", 60 * 24 * 30, "legacy", "prod", purl, json!({"reason": "by hand"}));
        let headers = [("content-type", "application/cloudevents+json")];
        self.send(
            CI,
            "cut off",
            &headers,
            b"{\"specversion\":\"1.0\",\"id\":\"cut-off\",\"source\":\"/pipelines/sh".to_vec(),
        );
    }

    /// Commit, run, image with its manifest and configuration, SBOM, provenance, publication.
    fn build(
        &mut self,
        service: &'static str,
        version: &'static str,
        ago: i64,
        base: &Digest,
        components: &[(&str, &[&str])],
    ) -> Image {
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": self.time(ago - 4),
            "config": {"Entrypoint": [format!("/app/{service}")]},
            "rootfs": {"type": "layers", "diff_ids": [self.made_up("layer alpine"), self.made_up(&format!("layer {service} {version}"))]},
            "history": [
                {"created": self.time(60 * 24 * 21), "created_by": "/bin/sh -c #(nop) ADD file:alpine in /"},
                {"created": self.time(ago - 4), "created_by": format!("COPY {service} /app/ # buildkit")},
            ],
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::sha256(sha256(config.to_string().as_bytes())), "size": config.to_string().len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": self.made_up(&format!("blob {service} {version}")), "size": 4096}],
            "annotations": {"org.opencontainers.image.base.digest": base, "org.opencontainers.image.base.name": "docker.io/library/alpine:3.20", "org.opencontainers.image.version": version},
        });
        let digest = Digest::sha256(sha256(manifest.to_string().as_bytes()));
        let image = Image {
            service,
            version,
            commit: self.commit_hash(&format!("{service} {version}")),
            run: format!("{service}-{version}-build"),
            digest,
        };
        self.work(&image, ago);
        for document in [&manifest, &config] {
            self.send(CI, service, &[("content-type", "application/json")], document.to_string().into_bytes());
        }
        self.sbom(&image, ago - 6, components);
        self.provenance(&image, ago - 5);
        image
    }

    fn work(&mut self, image: &Image, ago: i64) {
        let repository = format!("https://git.example/shop/{}", image.service);
        let id = |what: &str| format!("{}-{}-{what}", image.service, image.version);
        let custom = json!({"commit": image.commit, "repository": repository, "run": image.run, "platform": "linux/amd64", "kind": "container_image"});
        self.cdevent(
            "dev.cdevents.change.merged.0.3.0",
            &id("merged"),
            ago,
            &image.commit,
            json!({"repository": {"id": repository}}),
            custom.clone(),
        );
        self.cdevent(
            "dev.cdevents.pipelinerun.started.0.3.0",
            &id("started"),
            ago - 1,
            &image.run,
            json!({"pipelineName": "build"}),
            custom.clone(),
        );
        let change = json!({"id": image.commit, "source": repository});
        self.cdevent(
            "dev.cdevents.artifact.packaged.0.3.0",
            &id("packaged"),
            ago - 4,
            &image.purl(),
            json!({"change": change}),
            custom.clone(),
        );
        self.cdevent(
            "dev.cdevents.artifact.published.0.3.0",
            &id("published"),
            ago - 5,
            &image.purl(),
            json!({}),
            custom,
        );
        self.cdevent(
            "dev.cdevents.pipelinerun.finished.0.3.0",
            &id("finished"),
            ago - 7,
            &image.run,
            json!({"pipelineName": "build", "outcome": "success"}),
            json!({}),
        );
    }

    fn sbom(&mut self, image: &Image, ago: i64, components: &[(&str, &[&str])]) {
        let listed: Vec<Value> = components.iter().map(|(purl, _)| component(purl)).collect();
        let inner: Vec<&str> = components.iter().flat_map(|(_, inner)| inner.iter().copied()).collect();
        let direct: Vec<&str> = components.iter().map(|(purl, _)| *purl).filter(|purl| !inner.contains(purl)).collect();
        let mut dependencies = vec![json!({"ref": "root", "dependsOn": direct})];
        dependencies.extend(components.iter().map(|(purl, inner)| json!({"ref": purl, "dependsOn": inner})));
        let sbom = json!({
            "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": {
                "timestamp": self.time(ago), "tools": {"components": [{"type": "application", "name": "sbom-maker", "version": "1.0"}]},
                "component": {"bom-ref": "root", "type": "container", "name": image.service, "version": image.version, "purl": image.purl()},
            },
            "components": listed, "dependencies": dependencies,
        });
        self.document(SCANNER, &image.digest, &sbom);
    }

    fn provenance(&mut self, image: &Image, ago: i64) {
        use base64::Engine;
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"name": format!("registry.example/shop/{}", image.service), "digest": {"sha256": image.digest.hex()}}],
            "predicate": {
                "buildDefinition": {
                    "buildType": "https://git.example/build/v1", "externalParameters": {"repository": format!("https://git.example/shop/{}", image.service)},
                    "resolvedDependencies": [{"uri": format!("git+https://git.example/shop/{}@refs/heads/main", image.service), "digest": {"gitCommit": image.commit}}],
                },
                "runDetails": {"builder": {"id": "https://git.example/runners/v2"}, "metadata": {"invocationId": image.run, "startedOn": self.time(ago + 4), "finishedOn": self.time(ago)}},
            },
        });
        let payload = base64::engine::general_purpose::STANDARD.encode(statement.to_string());
        let envelope = json!({"payloadType": "application/vnd.in-toto+json", "payload": payload, "signatures": [{"keyid": "demo", "sig": "ZGVtbw=="}]});
        self.send(
            CI,
            image.service,
            &[("content-type", "application/vnd.in-toto+json")],
            envelope.to_string().into_bytes(),
        );
    }

    fn tests(&mut self, image: &Image, ago: i64, outcome: &str, passed: u32, skipped: u32) {
        let id = format!("{}-{}-tests", image.service, image.version);
        let reason = if skipped > 0 { "checkout against the payment sandbox was skipped" } else { "" };
        self.own_event(CI, "tests-finished", &id, ago, json!({
            "artifactDigest": image.digest, "artifactRef": image.reference(), "run": image.run, "suite": "integration",
            "outcome": outcome, "passed": passed, "skipped": skipped, "reason": reason,
        }));
    }

    fn scan(&mut self, image: &Image, ago: i64) {
        let report = json!({
            "SchemaVersion": 2, "CreatedAt": self.time(ago), "ArtifactName": image.reference(), "ArtifactType": "container_image",
            "Metadata": {"RepoDigests": [format!("registry.example/shop/{}@{}", image.service, image.digest)]},
            "Results": [{"Target": "app.jar", "Class": "lang-pkgs", "Type": "jar", "Vulnerabilities": [{
                "VulnerabilityID": VULNERABILITY, "PkgName": "org.apache.logging.log4j:log4j-core", "InstalledVersion": "2.14.1",
                "FixedVersion": "2.15.0", "Severity": "CRITICAL", "Status": "fixed",
                "PkgIdentifier": {"PURL": format!("{LIBRARY}@2.14.1")},
            }]}],
        });
        self.document(SCANNER, &image.digest, &report);
    }

    fn deploy(&mut self, image: &Image, environment: &str, ago: i64, custom: Value) {
        let id = format!("{}-{}-{environment}", image.service, image.version);
        self.deploy_event(&id, ago, image.service, environment, &image.purl(), custom);
    }

    fn deploy_event(&mut self, id: &str, ago: i64, service: &str, environment: &str, purl: &str, custom: Value) {
        let content = json!({"environment": {"id": environment}, "artifactId": purl});
        self.cdevent("dev.cdevents.service.deployed.0.3.0", &format!("deploy-{id}"), ago, service, content, custom);
    }
}

impl Image {
    fn purl(&self) -> String {
        let digest = self.digest.as_str().replace(':', "%3A");
        let Image { service, version, .. } = self;
        format!("pkg:oci/{service}@{digest}?repository_url=registry.example/shop/{service}&tag={version}")
    }

    fn reference(&self) -> String {
        format!("registry.example/shop/{}:{}", self.service, self.version)
    }
}

fn component(purl: &str) -> Value {
    let (path, version) = purl.rsplit_once('@').unwrap_or((purl, ""));
    let name = path.rsplit('/').next().unwrap_or(path);
    json!({"bom-ref": purl, "type": "library", "name": name, "version": version, "purl": purl, "licenses": [{"license": {"id": "Apache-2.0"}}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story() {
        let bytes = |seed| {
            tell(seed, Nanos(1_800_000_000_000_000_000), 3).messages.iter().map(|m| m.value.clone()).collect::<Vec<_>>()
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn every_message_but_the_cut_off_one_is_json() {
        let story = tell(1, Nanos(1_800_000_000_000_000_000), 3);
        let broken = story.messages.iter().filter(|m| serde_json::from_slice::<Value>(&m.value).is_err()).count();
        assert_eq!(broken, 1);
    }
}
