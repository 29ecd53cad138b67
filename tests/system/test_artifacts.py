"""One artifact through HTTP and the command line: its replay hash made anew by a stranger, cards, comparisons, SBOMs (SPEC 3.2, 4, 5)."""

import hashlib
import json
import random

import pytest

from pedigraph import CLOUDEVENT, Node, cloudevent, deployed, digest, document_id, event_id, problem, published, raw, run

APP, BEFORE, CONFIG = digest(0xA1), digest(0xA0), digest(0xAC)
CVE = "CVE-2026-4711"


def minute(number):
    return f"2026-03-01T10:{number:02d}:00Z"


def own_event(name, at, data):
    return cloudevent(f"io.pedigraph.{name}.v1", data, id_=f"{name} {at}", time_=minute(at))


def sbom(tool, at, purls):
    return raw({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:00000000-0000-4000-8000-0000000000{at:02d}",
        "version": 1,
        "metadata": {"timestamp": minute(at), "tools": [{"name": tool}]},
        "components": [{"type": "library", "name": purl.rpartition("@")[0].rpartition("/")[2], "version": purl.rpartition("@")[2], "purl": purl} for purl in purls],
    })


def openvex(document, version, at, product):
    statement = {"vulnerability": {"name": CVE}, "products": [{"@id": f"pkg:oci/app?{product}", "hashes": {"sha-256": product.removeprefix("sha256:")}}], "status": "fixed"}
    return raw({
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": f"https://vex.example/{document}",
        "author": "maker",
        "timestamp": minute(at),
        "version": version,
        "statements": [statement],
    })


# (what counts, how it is sent): an event, or a document with its subject.
def told():
    build = own_event("artifact-packaged", 1, {"artifactDigest": APP, "artifactRef": "r.example/app:1.1.0", "parentDigests": [BEFORE], "run": "https://ci.example/7", "commit": "0c5a9f3e7b1d2c4e6f8091a2b3c4d5e6f7081920"})
    config = own_event("image-observed", 2, {"digest": APP, "digestKind": "manifest", "configDigest": CONFIG})
    scans = [own_event("scan-completed", at, {"artifactDigest": named, "scanner": "looker", "findingCount": 0}) for at, named in ((5, APP), (6, CONFIG))]
    return [
        (False, published("r.example/app:1.0.0", BEFORE, id_="before", time_=minute(0)), None),
        (True, build, None),
        (False, config, None),
        (True, published("r.example/app:1.1.0", APP, id_="app", time_=minute(3)), None),
        (False, sbom("syft", 3, ["pkg:npm/gone@1.0.0"]), APP),
        (True, sbom("syft", 4, ["pkg:npm/rope@1.0.0", "pkg:npm/knot@1.0.0"]), APP),
        (True, sbom("trivy", 4, ["pkg:npm/rope@1.0.0", "pkg:npm/knot@2.0.0"]), CONFIG),
        (False, scans[0], None),
        (True, scans[1], None),
        (True, own_event("artifact-signed", 7, {"artifactDigest": APP, "signer": "maker"}), None),
        (False, openvex("replaced", 1, 8, APP), None),
        (True, openvex("replaced", 2, 9, APP), None),
        (False, openvex("withdrawn", 1, 8, APP), None),
        (False, openvex("withdrawn", 2, 9, BEFORE), None),
        (False, deployed("app", "r.example/app:1.1.0", "prod", id_="deployed", time_=minute(10), artifactDigest=APP), None),
    ]


def send(node, event, subject):
    """Sends one and returns the id that its event must have, made without the server."""
    if isinstance(event, bytes):
        node.accept(event, "application/json", **({"subject": subject} if subject else {}))
        return event_id(*document_id(event, subject), event)
    node.accept(raw(event), CLOUDEVENT)
    return event_id("tests", event["id"], raw(event))


def replay_hash(ids, subject):
    """SPEC 3.2, from its text alone."""
    canonical = json.dumps({"eventIds": sorted(ids), "rules": "1", "subject": subject}, separators=(",", ":"), sort_keys=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


@pytest.fixture(scope="module")
def app(shared):
    expected = set()
    for counts, event, subject in told():
        sent = send(shared, event, subject)
        expected |= {sent} if counts else set()
    shared.wait_visible()
    return expected


def test_a_stranger_makes_the_replay_hash_anew(shared, app):
    for named in (APP, CONFIG):
        found = shared.json(f"/api/v1/artifacts/{named}/inputs")
        ids = [one["eventId"] for one in found["inputs"]]
        assert (set(ids), len(ids)) == (app, len(app))
        assert (found["digest"], found["subject"], found["aliases"]) == (APP, APP, [CONFIG])
        assert found["replayHash"] == replay_hash(ids, APP)
    kinds = sorted(one["kind"] for one in found["inputs"])
    assert kinds == sorted(["build", "publication", "sbom", "sbom", "scan", "signature", "vex"])
    for one in found["inputs"]:
        entry = shared.json(f"/api/v1/entries/{one['proof']['index']}")
        assert (entry["eventId"], entry["leafHash"]) == (one["eventId"], one["proof"]["leafHash"])
    nodes = [
        shared.json(f"/api/v1/artifacts/{APP}"),
        shared.json(f"/api/v1/artifacts/{APP}/hover"),
        shared.json(f"/api/v1/lineage/{APP}")["artifact"],
        shared.json("/api/v1/lineage/compare", a=BEFORE, b="prod/app")["b"],
    ]
    assert {node["replayHash"] for node in nodes} == {found["replayHash"]}
    badges = {"signatureStatus": "unverified", "sbom": True, "deployedIn": ["prod"], "completeness": 1.0}
    assert all({**node["badges"], **badges} == node["badges"] for node in nodes)
    assert all(count in node["badges"] for node in nodes for count in ("newVulns", "resolvedVulns"))
    known = shared.json(f"/api/v1/artifacts/{APP}/inputs", asOf=3)
    assert known["replayHash"] == replay_hash([one["eventId"] for one in known["inputs"]], APP) != found["replayHash"]


def test_the_order_of_arrival_means_nothing(shared, app, tmp_path):
    events = told()
    random.Random(16).shuffle(events)
    with_other_order = Node(tmp_path / "data").start()
    try:
        for _, event, subject in events:
            send(with_other_order, event, subject)
        with_other_order.wait_visible()
        found = with_other_order.json(f"/api/v1/artifacts/{APP}/inputs")
    finally:
        with_other_order.kill()
    assert found["replayHash"] == shared.json(f"/api/v1/artifacts/{APP}/inputs")["replayHash"] == replay_hash(app, APP)


def test_sboms_disagree_about_a_version(shared, app):
    found = shared.json(f"/api/v1/artifacts/{APP}/sboms", disagreements="true")
    assert [one["current"] for one in found["sboms"]] == [True, True, False]
    ids = {one["details"]["tool"]: one["id"] for one in found["sboms"] if one["current"]}
    assert found["disagreements"] == [
        {"purl": "pkg:npm/knot@1.0.0", "in": [ids["syft"]], "notIn": [ids["trivy"]]},
        {"purl": "pkg:npm/knot@2.0.0", "in": [ids["trivy"]], "notIn": [ids["syft"]]},
    ]
    assert found["disagreementsTotal"] == 2


def test_compare_on_the_command_line(shared, app):
    done = run("compare", "r.example/app:1.0.0", "prod/app", url=shared.url)
    assert done.returncode == 0, done.stderr
    assert "both come from r.example/app:1.0.0, 1 steps apart" in done.stderr.decode()
    rows = {line.split("  ")[0]: line for line in done.stdout.decode().splitlines()}
    assert "prod" in rows["runs in"] and "https://ci.example/7" in rows["run"], rows
    as_json = run("compare", BEFORE, APP, "-o", "json", url=shared.url)
    assert json.loads(as_json.stdout) == shared.json("/api/v1/lineage/compare", a=BEFORE, b=APP)
    lines = run("compare", BEFORE, APP, "-o", "jsonl", url=shared.url).stdout.decode().splitlines()
    assert {"what": "digest", "a": BEFORE, "b": APP} in map(json.loads, lines)
    same = run("compare", APP, "prod/app", url=shared.url)
    assert same.returncode == 2 and b"LINEAGE_DIFF_INVALID" in same.stderr, same.stderr
    assert run("compare", APP, digest(0xFF), url=shared.url).returncode == 3
    problem(shared.get("/api/v1/lineage/compare", a=APP, b=APP), 400, "LINEAGE_DIFF_INVALID")
