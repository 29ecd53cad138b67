"""What other people's data looks like: each kind of it that was once read wrongly, with the right answer."""

import base64
import hashlib
import json
import re

import pytest

from pedigraph import CLOUDEVENT, cloudevent, deployed, digest, published, raw

CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
DAY = "2026-07-%02dT08:00:00Z"


def sha256(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def send(node, value, kind="application/json", **more):
    """An event or a document, until every answer has it."""
    return node.accept(raw(value), kind, wait="visible", **more)


def event(node, value):
    return send(node, value, CLOUDEVENT)


def sbom(name, components, day=1, *, tool="maker", root=None):
    root = root or {"type": "application", "name": name}
    metadata = {
        "timestamp": DAY % day,
        "component": root,
        "tools": {"components": [{"type": "application", "name": tool}]},
    }
    listed = [
        {"type": "library", "name": purl.rpartition("/")[2], "purl": purl, "bom-ref": purl} for purl in components
    ]
    return {**CYCLONEDX, "metadata": metadata, "components": listed}


def statement(kind, subject, predicate, name="product"):
    """An in-toto statement without a signature."""
    subjects = [{"name": name, "digest": dict([subject.split(":")])}]
    body = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": kind,
        "predicate": predicate,
    }
    payload = base64.b64encode(raw(body)).decode()
    return {
        "payloadType": "application/vnd.in-toto+json",
        "payload": payload,
        "signatures": [{"keyid": "k", "sig": "AAAA"}],
    }


def cdevent(id_, type_, subject, content, *, source="/ci", subject_source=None, time_=DAY % 1):
    """A bare CDEvent."""
    context = {"specversion": "0.5.1", "id": id_, "source": source, "type": f"dev.cdevents.{type_}", "timestamp": time_}
    about = {"id": subject, "content": content} | ({"source": subject_source} if subject_source else {})
    return {"context": context, "subject": about}


def index_of(*manifests, created=DAY % 1):
    listed = [{"mediaType": kind, "digest": of, "size": 7, "platform": platform} for kind, of, platform in manifests]
    annotations = {"org.opencontainers.image.created": created}
    return {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed, "annotations": annotations}


def platform(text):
    parts = text.split("/")
    return dict(zip(("os", "architecture", "variant"), parts, strict=False))


def edges(node, of, relationship=None):
    found = node.json(f"/api/v1/lineage/{of}", maxDepth=10)["edges"]
    return [edge for edge in found if relationship in (None, edge["relationship"])]


def pairs(node, of, relationship="parent"):
    return {(edge["from"], edge["to"]) for edge in edges(node, of, relationship)}


def artifact(node, reference):
    return node.json(f"/api/v1/artifacts/{reference}")


def running(node, environment, service=None):
    services = node.json(f"/api/v1/environments/{environment}")["services"]
    return [row for state in services if service in (None, state["service"]) for row in state["running"]]


def test_nested_indexes(shared):
    """An index of indexes, three levels, runs: what its manifests contain runs."""
    leaf, other = digest(0xA001), digest(0xA002)
    inner = raw(index_of((MANIFEST, leaf, platform("linux/arm64")), (MANIFEST, other, platform("linux/amd64"))))
    middle = raw(index_of((INDEX, sha256(inner), {})))
    outer = raw(index_of((INDEX, sha256(middle), {})))
    for body in (outer, inner, middle):
        shared.accept(body, INDEX)
    send(shared, sbom("nested", ["pkg:gem/rack@3.1.7"]), subject=leaf)
    event(shared, deployed("nested", f"registry.example/nested@{sha256(outer)}", "nest", artifactDigest=sha256(outer)))
    impact = shared.json("/api/v1/components/impact", purl="pkg:gem/rack")
    assert [row["service"] for row in impact["deployed"]] == ["nested"], impact
    assert not [row for row in impact["notDeployed"] if row["digest"] == sha256(outer)]
    assert not [row for row in impact["unknown"] if row["environment"] == "nest"], impact["unknown"]
    hops = shared.json("/api/v1/trace", ref="nest/nested")["hops"]
    assert [hop["status"] for hop in hops if hop["kind"] == "sbom"] == ["found"], hops


def test_no_tag_is_not_latest(shared):
    """A root component with a version and no purl: the version is the version."""
    made = {}
    for day, version in ((3, "0.9.0"), (4, "0.12.0"), (5, "0.9.1")):
        root = {"type": "application", "name": "till", "version": version}
        root["hashes"] = [{"alg": "SHA-256", "content": f"{0xB000 + day:064x}"}]
        send(shared, sbom("till", ["pkg:npm/ms@2.1.3"], day, root=root))
        made[version] = digest(0xB000 + day)
    for version, of in made.items():
        node = artifact(shared, of)
        assert "latest" not in json.dumps(node), node
        assert version in node["artifactRef"], node["artifactRef"]
    assert (made["0.9.0"], made["0.9.1"]) in pairs(shared, made["0.9.1"])
    assert not [edge for edge in edges(shared, made["0.12.0"]) if "tag" in edge["method"]]


def trivy(name, kind="filesystem", day=1, **metadata):
    return {
        "SchemaVersion": 2,
        "CreatedAt": DAY % day,
        "ArtifactName": name,
        "ArtifactType": kind,
        "Metadata": metadata,
        "Results": [],
    }


def test_scans_of_directories_are_strangers(shared):
    for number, day in ((0xB101, 1), (0xB102, 2)):
        send(shared, trivy(".", day=day), subject=digest(number))
    nodes = [artifact(shared, digest(number)) for number in (0xB101, 0xB102)]
    assert not pairs(shared, digest(0xB101)) and not pairs(shared, digest(0xB102))
    for node in nodes:
        assert node["kind"] != "container_image" and "latest" not in node["artifactRef"], node


def test_equal_times_the_later_arrival_runs(shared):
    for version in (3, 9, 1, 7, 2, 8):
        event(shared, deployed("tie", f"registry.example/tie:{version}.0", "ties", time_=DAY % 2))
        assert [row["artifactRef"] for row in running(shared, "ties", "tie")] == [f"registry.example/tie:{version}.0"]
    gone = {"service": "gone", "environment": "ties"}
    event(shared, cloudevent("io.pedigraph.service-removed.v1", gone, time_=DAY % 2))
    event(shared, deployed("gone", "registry.example/gone:1", "ties", time_=DAY % 2))
    assert running(shared, "ties", "gone")
    event(shared, cloudevent("io.pedigraph.service-removed.v1", gone, time_=DAY % 2))
    assert not running(shared, "ties", "gone")


def test_build_numbers_belong_to_their_job(shared):
    """Build 7 of two jobs makes two products that have nothing in common."""
    products = {"job/till": digest(0xC001), "job/stock": digest(0xC002)}
    for job, of in products.items():
        send(
            shared,
            cdevent(
                f"{job}-run",
                "pipelinerun.finished.0.3.0",
                "7",
                {"outcome": "success", "pipelineName": job},
                subject_source=job,
            ),
        )
        made = {"artifactDigest": of, "artifactRef": f"registry.example/{job}:7", "kind": "container_image", "run": "7"}
        event(shared, cloudevent("io.pedigraph.artifact-packaged.v1", made, source=job, time_=DAY % 1))
    assert not edges(shared, products["job/till"], "build")
    runs = [artifact(shared, of).get("run", {}) for of in products.values()]
    assert [job in json.dumps(run) for job, run in zip(products, runs, strict=True)] == [True, True], runs


def test_two_clusters_of_one_name(shared):
    for cluster, service in (("east", "web"), ("west", "web")):
        content = {
            "environment": {"id": "twins", "source": f"cluster/{cluster}"},
            "artifactId": f"pkg:oci/web@sha256%3A{len(cluster + service):064x}?tag={cluster}",
        }
        send(shared, cdevent(f"twins-{cluster}", "service.deployed.0.3.0", service, content))
    rows = running(shared, "twins", "web")
    assert len(rows) == 2 and {row.get("cluster") for row in rows} == {"cluster/east", "cluster/west"}, rows


def test_several_digests_of_one_file(shared):
    sha, strong = f"{0xC101:064x}", f"{0xC101:0128x}"
    root = {"type": "application", "name": "tool", "version": "5.0"}
    root["hashes"] = [{"alg": "SHA-512", "content": strong}, {"alg": "SHA-256", "content": sha}]
    send(shared, sbom("tool", ["pkg:cargo/serde@1.0.219"], root=root))
    send(
        shared,
        statement(
            "https://slsa.dev/provenance/v1", f"sha256:{sha}", {"buildDefinition": {"buildType": "https://b.example/1"}}
        ),
    )
    for reference in (f"sha256:{sha}", f"sha512:{strong}"):
        node = artifact(shared, reference)
        assert node["digest"] == f"sha256:{sha}" and f"sha512:{strong}" in node["aliases"], node
        assert len(node["sboms"]) == 1 and len(node["attestations"]) == 1


def test_the_registry_of_a_purl(shared):
    wanted = {
        f"pkg:docker/desk/till@sha256%3A{0xC201:064x}?repository_url=quay.io&tag=3.1.4": "quay.io/desk/till:3.1.4",
        f"pkg:docker/desk/stock@sha256%3A{0xC202:064x}?repository_url=quay.io&tag=3.1.5": "quay.io/desk/stock:3.1.5",
        f"pkg:oci/dns@sha256%3A{0xC203:064x}?repository_url=registry.example/cluster/&tag=1": (
            "registry.example/cluster/dns:1"
        ),
    }
    for n, purl in enumerate(wanted):
        send(
            shared, cdevent(f"purl-{n}", "artifact.packaged.0.3.0", purl, {"change": {"id": "c1"}}, time_=DAY % (n + 1))
        )
    found = {purl: artifact(shared, digest(0xC201 + n)) for n, purl in enumerate(wanted)}
    assert {purl: node["artifactRef"] for purl, node in found.items()} == wanted
    assert not pairs(shared, digest(0xC202))


def config(diffs, labels=None, created=DAY % 1):
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {"Labels": labels or {}},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }


def test_labels_of_the_base_are_the_bases(shared):
    revision = "org.opencontainers.image.revision"
    base = raw(config([digest(0xD001), digest(0xD002)], {revision: "ab" * 20}))
    child = raw(config([digest(0xD001), digest(0xD002), digest(0xD003)], {revision: "ab" * 20}, DAY % 2))
    shared.accept(base, CONFIG)
    shared.accept(child, CONFIG, wait="visible")
    assert artifact(shared, sha256(base))["commit"]["id"] == "ab" * 20
    assert artifact(shared, sha256(child)).get("commit") is None
    made = {
        "artifactDigest": sha256(child),
        "artifactRef": "registry.example/child:1",
        "kind": "container_image",
        "commit": "cd" * 20,
    }
    event(shared, cloudevent("io.pedigraph.artifact-packaged.v1", made, time_=DAY % 2))
    assert artifact(shared, sha256(child))["commit"]["id"] == "cd" * 20
    hops = shared.json("/api/v1/trace", ref=sha256(child))["hops"]
    assert not [hop for hop in hops if hop["status"] == "conflict"], hops


def git(name, commit):
    return {"uri": f"git+https://git.example/{name}.git", "digest": {"sha1": commit}}


def test_the_commit_of_a_provenance_is_the_sources(shared):
    of = digest(0xD101)
    tasks, base, source = (
        git("tasks", "1a" * 20),
        {"uri": "oci://registry.example/builder", "digest": {"sha256": f"{0xD1FF:064x}"}},
        git("till", "2b" * 20),
    )
    listed = [{**tasks, "name": "pipeline"}, {**base, "name": "task"}, {**source, "name": "inputs/result"}]
    definition = {
        "buildType": "https://tekton.dev/chains/v2/slsa-tekton",
        "externalParameters": {},
        "resolvedDependencies": listed,
    }
    send(
        shared,
        statement(
            "https://slsa.dev/provenance/v1",
            of,
            {"buildDefinition": definition, "runDetails": {"builder": {"id": "https://tekton.example"}}},
        ),
    )
    assert artifact(shared, of)["commit"]["id"] == "2b" * 20
    of = digest(0xD102)
    old = {
        "builder": {"id": "https://b.example"},
        "buildType": "https://b.example/2",
        "invocation": {"configSource": git("stock", "3c" * 20)},
        "materials": [git("shared-ci", "4d" * 20), git("stock", "3c" * 20)],
    }
    send(shared, statement("https://slsa.dev/provenance/v0.2", of, old))
    assert artifact(shared, of)["commit"]["id"] == "3c" * 20


def test_build_tools_are_no_bases(shared):
    of, final = digest(0xD201), digest(0xD20A)
    materials = [
        {"uri": "pkg:docker/docker/dockerfile@1.7?platform=linux%2Famd64", "digest": {"sha256": f"{0xD20B:064x}"}},
        {"uri": "pkg:docker/rust@1.90?platform=linux%2Famd64", "digest": {"sha256": f"{0xD20C:064x}"}},
        {"uri": "pkg:docker/debian@13?platform=linux%2Famd64", "digest": dict([final.split(":")])},
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(0xD2C0), "size": 1},
        "layers": [],
        "annotations": {
            "org.opencontainers.image.base.digest": final,
            "org.opencontainers.image.base.name": "docker.io/library/debian:13",
        },
    }
    shared.accept(raw(manifest), MANIFEST, subject=of)
    predicate = {
        "builder": {"id": "https://buildkit.example"},
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": materials,
        "invocation": {"configSource": {"entryPoint": "Dockerfile"}},
    }
    send(shared, statement("https://slsa.dev/provenance/v0.2", of, predicate))
    assert pairs(shared, of, "base") == {(final, of)}
    assert [edge["confidence"] for edge in edges(shared, of, "base") if edge["to"] == of] == [1.0]


def test_provenance_of_each_platform(shared):
    manifests = [
        (MANIFEST, digest(0xD301), platform("linux/amd64")),
        (MANIFEST, digest(0xD302), platform("linux/s390x")),
    ]
    index = raw(index_of(*manifests))
    shared.accept(index, INDEX)
    for _, of, _ in manifests:
        definition = {
            "buildType": "https://b.example/1",
            "externalParameters": {},
            "resolvedDependencies": [{"uri": "pkg:docker/alpine@3.22", "digest": {"sha256": f"{0xD3FF:064x}"}}],
        }
        send(
            shared,
            statement(
                "https://slsa.dev/provenance/v1",
                of,
                {"buildDefinition": definition, "runDetails": {"builder": {"id": "https://b.example"}}},
            ),
        )
    event(
        shared, deployed("multi", f"registry.example/multi@{sha256(index)}", "platforms", artifactDigest=sha256(index))
    )
    text = json.dumps(artifact(shared, sha256(index))["attestations"])
    assert "linux/amd64" in text and "linux/s390x" in text, text
    hops = shared.json("/api/v1/trace", ref="platforms/multi")["hops"]
    assert {hop["status"] for hop in hops if hop["kind"] in ("attestations", "attestation", "base")} == {"found"}, hops


def test_unaffected_versions_and_rejected_vulnerabilities(shared):
    purl = "pkg:npm/tar@7.4.3"
    for number, vulnerability in enumerate(
        (
            {
                "id": "CVE-2026-71001",
                "affects": [{"ref": purl, "versions": [{"version": "7.4.3", "status": "unaffected"}]}],
            },
            {"id": "CVE-2026-71002", "rejected": DAY % 3, "affects": [{"ref": purl}]},
            {
                "id": "CVE-2026-71003",
                "affects": [{"ref": purl, "versions": [{"version": "7.4.3", "status": "affected"}]}],
            },
        )
    ):
        of = digest(0xD401 + number)
        send(shared, {**sbom(f"una{number}", [purl]), "vulnerabilities": [vulnerability]}, subject=of)
        found = sum(scan["details"].get("findings", 0) for scan in artifact(shared, of)["scans"])
        assert found == (number == 2), f"{vulnerability}: {found} findings"


def test_a_plus_sign_is_one(shared):
    of = digest(0xD501)
    send(shared, sbom("plus", ["pkg:deb/debian/g++@14.2.0"]), subject=of)
    event(shared, deployed("plus", f"registry.example/plus@{of}", "plus", artifactDigest=of))
    for spelt in ("pkg:deb/debian/g++", "pkg:deb/debian/g%2B%2B"):
        answer = shared.session.get(f"{shared.url}/api/v1/components/impact?purl={spelt}", timeout=30).json()
        assert [row["digest"] for row in answer["deployed"]] == [of], f"{spelt}: {answer}"


def test_constant_build_times(shared):
    made = []
    for number, version in enumerate(("2.0", "2.1", "2.2", "2.3", "2.4")):
        body = raw(config([digest(0xD600 + number)], {"n": version}, "1980-01-01T00:00:00Z"))
        shared.accept(body, CONFIG)
        name = {"artifactDigest": sha256(body), "artifactRef": f"registry.example/still:{version}"}
        built = {**name, "kind": "container_image"}
        event(shared, cloudevent("io.pedigraph.artifact-packaged.v1", built, time_="1980-01-01T00:00:00Z"))
        event(shared, published(f"registry.example/still:{version}", sha256(body), time_=DAY % (number + 1)))
        made.append(sha256(body))
    assert pairs(shared, made[2]) == set(zip(made, made[1:], strict=False))
    assert [artifact(shared, of)["sequenceNumber"] for of in made] == [1, 2, 3, 4, 5]


def test_described_versions_go_forward(shared):
    names = ["v4.0.1", "v4.0.1-12-g0badc0d", "v4.0.2"]
    for day, name in enumerate(names, 1):
        event(shared, published(f"registry.example/described:{name}", digest(0xD700 + day), time_=DAY % day))
        event(
            shared,
            deployed(
                "described",
                f"registry.example/described:{name}",
                "describe",
                time_=DAY % day,
                artifactDigest=digest(0xD700 + day),
            ),
        )
    changes = shared.json("/api/v1/environments/describe/changes")["changes"]
    assert [change["kind"] for change in changes] == ["deploy"] * 3, changes
    assert pairs(shared, digest(0xD702)) == {(digest(0xD701), digest(0xD702)), (digest(0xD702), digest(0xD703))}


def test_variants_are_lines(shared):
    for day, tag in enumerate(("5.0.0", "5.0.0-bookworm", "5.0.1-bookworm-slim", "5.0.1", "5.0.1-bookworm"), 1):
        event(shared, published(f"registry.example/variants:{tag}", digest(0xD800 + day), time_=DAY % day))
    assert pairs(shared, digest(0xD804)) == {(digest(0xD801), digest(0xD804))}
    assert pairs(shared, digest(0xD805)) == {(digest(0xD802), digest(0xD805))}
    assert not pairs(shared, digest(0xD803))


def test_signatures_are_no_versions(shared):
    event(shared, published("registry.example/signed:1.0", digest(0xD901), time_=DAY % 1))
    event(shared, published(f"registry.example/signed:sha256-{0xD901:064x}.sig", digest(0xD902), time_=DAY % 2))
    event(shared, published(f"registry.example/signed:sha256-{0xD901:064x}.att", digest(0xD903), time_=DAY % 3))
    event(shared, published("registry.example/signed:1.1", digest(0xD904), time_=DAY % 4))
    assert pairs(shared, digest(0xD904)) == {(digest(0xD901), digest(0xD904))}
    assert artifact(shared, digest(0xD904))["sequenceNumber"] == 2


def test_empty_content_joins_nothing(shared):
    empty = sha256(b"")
    for run, other in (("ea-1", digest(0xDA01)), ("ea-2", digest(0xDA02))):
        subjects = [
            {"name": "log.txt", "digest": dict([empty.split(":")])},
            {"name": "app", "digest": dict([other.split(":")])},
        ]
        body = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {"buildType": "https://b.example/1"},
                "runDetails": {"builder": {"id": "https://b.example"}, "metadata": {"invocationId": run}},
            },
        }
        send(shared, body)
    for other, stranger in ((digest(0xDA01), digest(0xDA02)), (digest(0xDA02), digest(0xDA01))):
        reached = shared.json(f"/api/v1/lineage/{other}", maxDepth=10)["nodes"]
        assert stranger not in [node["digest"] for node in reached], reached


def test_spellings_of_a_platform(shared):
    for day, (version, spelt) in enumerate((("1.0", "linux/arm64/v8"), ("1.1", "linux/arm64")), 1):
        data = {
            "artifactDigest": digest(0xDB00 + day),
            "artifactRef": f"registry.example/spelt:{version}",
            "kind": "container_image",
            "platform": spelt,
        }
        event(shared, cloudevent("io.pedigraph.artifact-packaged.v1", data, time_=DAY % day))
        event(shared, published(f"registry.example/spelt:{version}", digest(0xDB00 + day), time_=DAY % day))
    assert pairs(shared, digest(0xDB02)) == {(digest(0xDB01), digest(0xDB02))}


def test_manifests_of_one_index_are_no_parents(shared):
    windows = platform("windows/amd64")
    body = raw(
        index_of(
            (MANIFEST, digest(0xDC01), {**windows, "os.version": "10.0.1"}),
            (MANIFEST, digest(0xDC02), {**windows, "os.version": "10.0.2"}),
        )
    )
    shared.accept(body, INDEX)
    event(shared, published("registry.example/windows:1.0", sha256(body), time_=DAY % 1))
    for day, of in ((1, digest(0xDC01)), (2, digest(0xDC02))):
        event(shared, published("registry.example/windows:1.0", of, time_=DAY % day))
    assert not pairs(shared, digest(0xDC01))


def test_a_retag_is_the_new_name(shared):
    of = digest(0xDD01)
    for day, tag in ((1, "7.0-beta.2"), (5, "7.0")):
        event(
            shared, deployed("renamed", f"registry.example/renamed:{tag}", "retag", time_=DAY % day, artifactDigest=of)
        )
    [row] = running(shared, "retag", "renamed")
    assert (row["artifactRef"], row["since"]) == ("registry.example/renamed:7.0", DAY % 1)


def test_two_sboms_of_one_tool(shared):
    of = digest(0xDE01)
    for day, (root, purl) in enumerate(
        (("pkg:gem/front@1", "pkg:gem/nokogiri@1.18.0"), ("pkg:golang/back@1", "pkg:golang/gorm.io/gorm@1.30.0")), 1
    ):
        send(
            shared,
            sbom("part", [purl], day, tool="cdxgen", root={"type": "application", "name": root, "purl": root}),
            subject=of,
        )
    event(shared, deployed("parts", f"registry.example/parts@{of}", "parts", artifactDigest=of))
    for purl in ("pkg:gem/nokogiri", "pkg:golang/gorm.io/gorm"):
        assert [row["digest"] for row in shared.json("/api/v1/components/impact", purl=purl)["deployed"]] == [of], purl


def test_several_repository_digests(shared):
    mirror, own = digest(0xDF01), digest(0xDF02)
    send(
        shared,
        trivy(
            "registry.example/mirrored:1",
            "container_image",
            RepoDigests=[f"mirror.example/mirrored@{mirror}", f"registry.example/mirrored@{own}"],
            ImageID=digest(0xDF0C),
            RepoTags=["registry.example/mirrored:1"],
        ),
    )
    for reference in (mirror, own):
        assert len(artifact(shared, reference)["scans"]) == 1, reference


@pytest.mark.parametrize("quote", ['"%s"', "%s"])
def test_quoted_headers(shared, quote):
    headers = {
        "ce-specversion": "1.0",
        "ce-id": f"quoted {quote}".replace('"', "'"),
        "ce-source": "/quoted",
        "ce-type": "io.pedigraph.service-deployed.v1",
        "ce-time": DAY % 3,
    }
    headers = {name: quote % value for name, value in headers.items()}
    environment = f"quoted{len(quote)}"
    body = {"service": "q", "environment": environment, "artifactRef": "registry.example/q:1"}
    shared.accept(raw(body), "application/json", headers=headers, wait="visible")
    assert [row["artifactRef"] for row in running(shared, environment)] == ["registry.example/q:1"]


def test_long_ids(shared):
    for length in (1_025, 2_048):
        receipt = event(shared, deployed("long", "registry.example/long:1", "long", id_="i" * length))
        assert shared.json(f"/api/v1/entries/{receipt['index']}")["id"] == "i" * length
    answer = shared.post(raw(deployed("long", "registry.example/long:1", "long", id_="i" * 2_049)), CLOUDEVENT)
    assert answer.status_code == 413 or answer.json().get("code") == "TOO_LARGE", answer.text


def test_an_sbom_without_subject_has_an_address(shared):
    body = raw(sbom("lonely", ["pkg:hex/phoenix@1.8.0"]))
    shared.accept(body, "application/json", wait="visible")
    node = artifact(shared, sha256(body))
    assert node["kind"] == "sbom" and node["digest"] == sha256(body), node
    assert shared.json(f"/api/v1/lineage/{sha256(body)}")["edges"] == []
    candidates = shared.json("/api/v1/resolve", q=sha256(body))["candidates"]
    assert [candidate["digest"] for candidate in candidates] == [sha256(body)], candidates
    named = {row["digest"] for row in shared.json("/api/v1/components/impact", purl="pkg:hex/phoenix")["notDeployed"]}
    assert named == {sha256(body)}


@pytest.mark.parametrize("extra", ['"weight": 1e999', '"reason": "x\\udc00"'])
def test_valid_json_is_not_malformed(shared, extra):
    """It is kept, or what cannot be held is named by its place in the data."""
    data = '{"service": "odd", "environment": "odd", "artifactRef": "registry.example/odd:1", %s}' % extra
    head = {"specversion": "1.0", "id": extra, "source": "/odd", "type": "io.pedigraph.service-deployed.v1"}
    answer = shared.post(raw(head)[:-1] + b', "data": ' + data.encode() + b"}", CLOUDEVENT)
    if answer.status_code != 201:
        said = answer.json()
        assert said["code"] == "SCHEMA_VIOLATION", said
        column = int(re.search(r"line 1 column (\d+)", said["detail"])[1])
        assert data.index(extra) < column <= data.index(extra) + len(extra), said


def large(kind):
    filler = "m" * 2_000
    if kind == "trivy":
        found = [
            {"VulnerabilityID": f"CVE-2026-{n:05d}", "PkgName": f"p{n}", "InstalledVersion": "1", "Description": filler}
            for n in range(10_500)
        ]
        return {
            **trivy(
                "registry.example/large:1", "container_image", RepoDigests=[f"registry.example/large@{digest(0xE001)}"]
            ),
            "Results": [{"Vulnerabilities": found}],
        }
    told = [
        {
            "vulnerability": {"name": f"CVE-2026-{n:05d}"},
            "products": [{"@id": f"pkg:oci/large@{digest(0xE002)}"}],
            "status": "not_affected",
            "justification": "component_not_present",
            "impact_statement": filler,
        }
        for n in range(9_500)
    ]
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://vex.example/large",
        "author": "a",
        "timestamp": DAY % 1,
        "version": 1,
        "statements": told,
    }


@pytest.mark.parametrize("kind", ["trivy", "openvex"])
def test_large_documents_of_every_format(shared, kind):
    body = raw(large(kind))
    assert len(body) > 20_000_000
    answer = shared.post(body, "application/json", path="/api/v1/documents")
    assert answer.status_code == 201, answer.text[:300]
