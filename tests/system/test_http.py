"""HTTP intake and reading (SPEC 2.2, 2.3, 6, 8, 9) over one server."""

import base64
import bz2
import gzip
import hashlib
import http.client
import json
import lzma
import threading
import time
import uuid
from urllib.parse import urlsplit

import pytest
import zstandard

import tlog
from pedigraph import (
    BATCH,
    CLOUDEVENT,
    NDJSON,
    deployed,
    digest,
    document_id,
    event_id,
    problem,
    published,
    until,
)

CYCLONEDX = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "components": [{"type": "library", "name": "left-pad", "version": "1.3.0", "purl": "pkg:npm/left-pad@1.3.0"}],
}


def raw(value):
    return json.dumps(value).encode()


def sbom(name):
    return raw({**CYCLONEDX, "serialNumber": f"urn:uuid:{uuid.uuid4()}", "metadata": {"component": {"type": "application", "name": name}}})


# Receipts


def test_receipt_of_one_event(shared):
    event = deployed("receipt", "r.example/app:1")
    body = raw(event)
    answer = shared.post(body, CLOUDEVENT)
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    assert receipt["status"] == "accepted"
    assert receipt["eventId"] == event_id("tests", event["id"], body)
    assert len(bytes.fromhex(receipt["leafHash"])) == 32
    entry = shared.json(f"/api/v1/entries/{receipt['index']}")
    entry = entry.get("entry", entry)
    assert (entry["index"], entry["leafHash"], entry["eventId"]) == (receipt["index"], receipt["leafHash"], receipt["eventId"])
    assert entry["type"] == "ServiceDeployed" and entry["status"] == "accepted"
    assert entry["bodySize"] == len(body)
    assert entry["bodyDigest"].removeprefix("sha256:") == hashlib.sha256(body).hexdigest()
    assert shared.get(f"/api/v1/entries/{receipt['index']}/body").content == body


def test_duplicate_has_the_first_receipt_and_no_entry(shared):
    body = raw(deployed("duplicate", "r.example/app:1"))
    first = shared.accept(body)
    size = shared.size()
    again = shared.post(body, CLOUDEVENT)
    assert again.status_code == 200, again.text
    assert again.json() == {**first, "status": "duplicate"}
    assert shared.size() == size


def test_conflict_is_durable_and_names_the_first(shared):
    event = deployed("conflict", "r.example/app:1")
    first = shared.accept(raw(event))
    event["data"]["artifactRef"] = "r.example/app:2"
    answer = shared.post(raw(event), CLOUDEVENT)
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    assert receipt["status"] == "conflict" and receipt["conflictsWith"] == first["index"]
    assert receipt["index"] > first["index"] and receipt["eventId"] != first["eventId"]
    again = shared.post(raw(event), CLOUDEVENT)
    assert again.status_code == 200 and again.json()["index"] == receipt["index"]


@pytest.mark.parametrize(
    ("content_type", "body", "codes"),
    [
        ("application/json", b'{"a": [1, 2', ("MALFORMED_JSON",)),
        ("application/json", b'{"hello": "world"}', ("UNSUPPORTED_FORMAT",)),
        (CLOUDEVENT, b'{"specversion": "1.0", "type": "x"}', ("MALFORMED_ENVELOPE",)),
        (CLOUDEVENT, raw({"specversion": "9.0", "id": "v", "source": "tests", "type": "x"}), ("UNSUPPORTED_VERSION",)),
        ("application/json", raw({**CYCLONEDX, "specVersion": "9.9"}), ("UNSUPPORTED_VERSION", "SCHEMA_VIOLATION")),
        ("application/json", raw({**CYCLONEDX, "components": "none"}), ("SCHEMA_VIOLATION",)),
    ],
)
def test_rejects_are_entries(shared, content_type, body, codes):
    answer = shared.post(body, content_type)
    refused = problem(answer, 422, codes)
    entry = shared.json(f"/api/v1/entries/{refused['index']}")
    entry = entry.get("entry", entry)
    assert (entry["status"], entry["code"]) == ("rejected", refused["code"])
    assert 0 < len(entry["reason"]) <= 1024
    assert shared.get(f"/api/v1/entries/{refused['index']}/body").content == body


def test_reject_twice_is_a_duplicate(shared):
    body = b'{"seen twice": '
    first = problem(shared.post(body), 422, "MALFORMED_JSON")
    size = shared.size()
    again = shared.post(body)
    assert again.status_code in (200, 422), again.text
    assert again.json()["index"] == first["index"]
    assert shared.size() == size


def test_batch_in_the_order_sent(shared):
    events = [deployed(f"batch-{n}", "r.example/app:1") for n in range(5)]
    answer = shared.post(raw(events), BATCH)
    assert answer.status_code == 201, answer.text
    result = answer.json()
    assert (result["accepted"], result["duplicate"], result["conflict"], result["rejected"]) == (5, 0, 0, 0)
    indexes = [row["index"] for row in result["results"]]
    assert indexes == sorted(indexes) and len(set(indexes)) == 5
    again = shared.post(raw(events + [deployed("batch-new", "r.example/app:1")]), BATCH)
    assert again.status_code == 200, again.text
    assert [row["status"] for row in again.json()["results"]] == ["duplicate"] * 5 + ["accepted"]


def test_mixed_lines_are_207(shared):
    known = deployed("mixed", "r.example/app:1")
    shared.accept(raw(known))
    other = {**known, "data": {**known["data"], "artifactRef": "r.example/app:other"}}
    lines = [raw(deployed("mixed-2", "r.example/app:1")), raw(known), raw(other), b"{broken"]
    answer = shared.post(b"\n".join(lines) + b"\n", NDJSON)
    assert answer.status_code == 207, answer.text
    result = answer.json()
    assert [row["status"] for row in result["results"]] == ["accepted", "duplicate", "conflict", "rejected"]
    assert result["results"][3]["code"] == "MALFORMED_JSON"
    assert (result["accepted"], result["duplicate"], result["conflict"], result["rejected"]) == (1, 1, 1, 1)


def test_one_event_is_the_same_single_batched_and_as_a_line(shared):
    elements = [raw(deployed(f"forms-{n}", "r.example/app:1")) for n in range(3)]
    singles = [shared.accept(element) for element in elements]
    for body, content_type in [
        (b"[" + b" , ".join(elements) + b"]", BATCH),
        (b"\n".join(elements), NDJSON),
        (b"\r\n".join(elements) + b"\r\n", NDJSON),
    ]:
        answer = shared.post(body, content_type)
        assert answer.status_code == 200, answer.text
        rows = answer.json()["results"]
        assert [row["eventId"] for row in rows] == [single["eventId"] for single in singles]
        assert [row["index"] for row in rows] == [single["index"] for single in singles]


def test_binary_mode(shared):
    id_ = str(uuid.uuid4())
    headers = {"ce-specversion": "1.0", "ce-id": id_, "ce-source": "tests", "ce-type": "io.pedigraph.service-deployed.v1",
               "ce-time": "2026-08-14T10:00:00Z"}
    data = raw({"service": "binary", "environment": "http-binary", "artifactRef": "r.example/app:9"})
    receipt = shared.accept(data, "application/json", headers=headers, wait="visible")
    assert shared.get(f"/api/v1/entries/{receipt['index']}/body").content == data
    services = shared.json("/api/v1/environments/http-binary")["services"]
    assert [(s["service"], s["running"][0]["artifactRef"]) for s in services] == [("binary", "r.example/app:9")]
    assert services[0]["running"][0]["since"].startswith("2026-08-14T10:00:00")
    assert shared.post(data, "application/json", headers=headers).json()["status"] == "duplicate"


@pytest.mark.parametrize("coding", ["gzip", "zstd", "bzip2", "xz"])
def test_content_coding_is_no_part_of_the_event(shared, coding):
    """What is hashed are the bytes after content decoding (DESIGN §3.8)."""
    body = raw(deployed(f"coding-{coding}", "r.example/app:1"))
    compress = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress, "bzip2": bz2.compress, "xz": lzma.compress}[coding]
    first = shared.accept(compress(body), headers={"content-encoding": coding})
    assert first["eventId"] == event_id("tests", json.loads(body)["id"], body)
    again = shared.post(body, CLOUDEVENT)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate"), again.text


def test_documents_as_they_are(shared):
    body = sbom("documents")
    receipt = shared.accept(body, "application/json")
    assert receipt["eventId"] == event_id(*document_id(body), body)


@pytest.mark.parametrize("way", ["query", "header"])
def test_subject_beside_a_document(shared, way):
    body, subject = sbom(f"subject-{way}"), digest(0xA11CE)
    alone = shared.accept(body, "application/json")
    if way == "query":
        receipt = shared.accept(body, "application/json", subject=subject, wait="visible")
    else:
        receipt = shared.accept(body, "application/json", headers={"pedigraph-subject": subject}, wait="visible")
    assert receipt["index"] != alone["index"], "the same SBOM for an artifact is a new event"
    entries = shared.entries(subject=subject)
    assert receipt["index"] in [entry["index"] for entry in entries]
    problem(shared.post(body, "application/json", headers={"pedigraph-subject": "sha256:xyz"}), 422, "DIGEST_INVALID")


def test_large_document_streams(shared):
    components = [{"type": "library", "name": f"c{n}", "version": "1", "purl": f"pkg:npm/c{n}@1"} for n in range(2000)]
    body = raw({**CYCLONEDX, "components": components, "metadata": {"component": {"type": "application", "name": "big"}}})
    subject = digest(0xB16)
    answer = shared.post(body, "application/json", path="/api/v1/documents", subject=subject)
    assert answer.status_code == 201, answer.text
    assert shared.get(f"/api/v1/entries/{answer.json()['index']}/body").content == body


def test_idempotency_key(shared):
    event = deployed("idempotent", "r.example/app:1")
    key = {"idempotency-key": str(uuid.uuid4())}
    first = shared.post(raw(event), CLOUDEVENT, headers=key)
    assert first.status_code == 201, first.text
    again = shared.post(raw(event), CLOUDEVENT, headers=key)
    assert again.status_code in (200, 201) and again.json()["index"] == first.json()["index"]


def test_wait_visible(shared):
    for n in range(20):
        shared.accept(raw(deployed("visible", f"r.example/app:{n}", "visible", time_=f"2026-01-01T00:00:{n:02d}Z")), wait="visible")
        running = shared.json("/api/v1/environments/visible")["services"][0]["running"]
        assert [row["artifactRef"] for row in running] == [f"r.example/app:{n}"]


# Refused before it was read: no entry, a problem


def test_refusals_add_no_entry(shared):
    size = shared.size()
    problem(shared.post(b"\x89PNG", "image/png"), 415)
    problem(shared.post(b"{}", CLOUDEVENT, headers={"content-encoding": "br"}), 415)
    parts = urlsplit(shared.url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.putrequest("POST", "/api/v1/events")
    connection.putheader("content-type", CLOUDEVENT)
    connection.putheader("content-length", str((16 << 20) + 1))
    connection.endheaders()
    answer = connection.getresponse()
    body = json.loads(answer.read())
    assert answer.status == 413 and body["code"], body
    assert answer.headers["content-type"].startswith("application/problem+json")
    connection.close()
    assert shared.size() == size


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/nothing", 404, None),
        ("/api/v1/lineage/" + digest(0xDEAD), 404, "LINEAGE_NOT_FOUND"),
        ("/api/v1/environments/never-named", 404, "ENVIRONMENT_NOT_FOUND"),
        ("/api/v1/entries/999999999", 404, None),
        ("/api/v1/entries?pageSize=1001", 400, None),
        ("/api/v1/entries?pageToken=forged", 400, None),
        ("/api/v1/lineage/nonsense", (400, 404), None),
        ("/api/v1/trace", 400, None),
        ("/api/v1/environments/visible?at=yesterday", 400, None),
        ("/api/v1/components/impact?purl=nonsense", 400, None),
    ],
)
def test_problems_everywhere(shared, path, status, code):
    answer = shared.session.get(shared.url + path, timeout=30)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    problem(answer, answer.status_code, code)


def test_wrong_method_is_a_problem(shared):
    problem(shared.session.delete(shared.url + "/api/v1/events", timeout=30), 405)


def test_depth_limit(shared):
    shared.accept(raw(published("r.example/depth:1", digest(0xDEE9))), wait="visible")
    path = f"/api/v1/lineage/{digest(0xDEE9)}"
    problem(shared.get(path, maxDepth=101), 400, "LINEAGE_DEPTH_EXCEEDED")
    assert shared.json(path, maxDepth=100)["artifact"]["digest"] == digest(0xDEE9)


# Reading


def test_every_answer_says_how_fresh_it_is(shared):
    receipt = shared.accept(raw(deployed("fresh", "r.example/app:1", "fresh")), wait="visible")
    for path in ("/api/v1/environments/fresh", "/api/v1/environments", "/api/v1/intake", "/api/v1/entries", "/api/v1/resolve?q=fresh",
                 "/api/v1/trace?ref=fresh%2Ffresh"):
        answer = shared.session.get(shared.url + path, timeout=30)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        assert int(answer.headers["pedigraph-as-of"]) >= receipt["index"], path
        assert float(answer.headers["pedigraph-lag-ms"]) >= 0, path
        assert answer.headers.get("etag"), path


def test_min_index(shared):
    receipt = shared.accept(raw(deployed("min-index", "r.example/app:1", "min-index")))
    answer = shared.get("/api/v1/environments/min-index", minIndex=receipt["index"])
    assert answer.status_code == 200 and int(answer.headers["pedigraph-as-of"]) >= receipt["index"]
    problem(shared.get("/api/v1/environments/min-index", minIndex=receipt["index"] + 10_000, timeout=60), 503, "PROJECTION_BEHIND")


def test_two_clocks(shared):
    def running(**query):
        services = shared.json("/api/v1/environments/clocks", **query)["services"]
        return [(s["service"], s["running"][0]["artifactRef"], s["running"][0]["since"][:19]) for s in services if s["running"]]

    def at(hour):
        return f"2026-03-01T{hour:02d}:00:00Z"

    one = shared.accept(raw(deployed("svc", "r.example/app:1", "clocks", time_=at(1))), wait="visible")
    three = shared.accept(raw(deployed("svc", "r.example/app:3", "clocks", time_=at(3))), wait="visible")
    assert running() == [("svc", "r.example/app:3", at(3)[:19])]
    assert running(at=at(2)) == [("svc", "r.example/app:1", at(1)[:19])]
    assert running(at=at(3)) == [("svc", "r.example/app:3", at(3)[:19])], "at= includes that very moment"
    late = shared.accept(raw(deployed("svc", "r.example/app:2", "clocks", time_=at(2))), wait="visible")
    assert running() == [("svc", "r.example/app:3", at(3)[:19])], "late news about the past change only the past"
    assert running(at=at(2)) == [("svc", "r.example/app:2", at(2)[:19])]
    assert running(at=at(2), asOf=three["index"]) == [("svc", "r.example/app:1", at(1)[:19])], "what was known then"
    assert running(at=at(2), asOf=late["index"]) == [("svc", "r.example/app:2", at(2)[:19])], "asOf= includes that very entry"
    assert running(asOf=one["index"]) == [("svc", "r.example/app:1", at(1)[:19])]
    before = shared.get("/api/v1/environments/clocks", at=at(0))
    assert before.status_code == 404 or not any(s["running"] for s in before.json()["services"]), "nobody had named it yet"
    answer = shared.get("/api/v1/environments/clocks", asOf=three["index"])
    assert int(answer.headers["pedigraph-as-of"]) == three["index"]
    changes = shared.json("/api/v1/environments/clocks/changes")["changes"]
    assert [(c.get("from"), c["to"]) for c in changes] == [("r.example/app:2", "r.example/app:3"), ("r.example/app:1", "r.example/app:2"), (None, "r.example/app:1")]
    assert all(set(c["proof"]) >= {"index", "leafHash"} for c in changes)


def test_running_has_the_shape_of_the_contract(shared):
    event = deployed("shape", "registry.example/app:1", "shape", artifactDigest=digest(0x5A), actor="release-bot", strategy="rolling",
                     time_="2026-02-03T04:05:06Z")
    receipt = shared.accept(raw(event), wait="visible")
    answer = shared.json("/api/v1/environments/shape")
    assert answer["environment"] == "shape"
    (service,) = answer["services"]
    assert service["service"] == "shape" and service["drift"] == "not_observed" and service["observed"] == []
    (running,) = service["running"]
    assert running["artifactRef"] == "registry.example/app:1" and running["digest"] == digest(0x5A)
    assert running["strategy"] == "rolling" and running["actor"] == "release-bot" and running["weight"] == 100
    assert running["proof"]["index"] == receipt["index"] and running["proof"]["leafHash"] == receipt["leafHash"]


def test_lineage_artifact_resolve_and_trace(shared):
    ref = "registry.example/chain"
    for number, parent in [(1, None), (2, 1), (3, 2)]:
        data = {"artifactDigest": digest(0xC000 + number), "artifactRef": f"{ref}:1.{number}", "kind": "container_image"}
        if parent:
            data["parentDigests"] = [digest(0xC000 + parent)]
        event = published("", "")
        event.update(type="io.pedigraph.artifact-packaged.v1", data=data, time=f"2026-01-0{number}T00:00:00Z")
        shared.accept(raw(event))
    shared.accept(raw(deployed("chain", f"{ref}:1.2", "chain", artifactDigest=digest(0xC002))), wait="visible")
    lineage = shared.json(f"/api/v1/lineage/{digest(0xC002)}")
    edges = {(e["from"], e["to"], e["relationship"], e["method"], e["confidence"]) for e in lineage["edges"]}
    assert (digest(0xC001), digest(0xC002), "parent", "declared", 1.0) in edges
    assert (digest(0xC002), digest(0xC003), "parent", "declared", 1.0) in edges
    numbers = [node["sequenceNumber"] for node in lineage["nodes"]]
    assert numbers == sorted(numbers, reverse=True)
    assert {node["digest"] for node in lineage["nodes"]} >= {digest(0xC000 + n) for n in (1, 2, 3)}
    artifact = shared.json(f"/api/v1/artifacts/{digest(0xC002)}")
    assert artifact["lineage"]["parents"] == [digest(0xC001)] and artifact["lineage"]["children"] == [digest(0xC003)]
    short = digest(0xC002)[:-1]
    candidates = shared.json("/api/v1/resolve", q=f"{ref}:1.2")["candidates"]
    assert candidates and candidates[0].get("digest") == digest(0xC002), candidates
    assert all({"type", "id", "label", "href"} <= set(c) for c in shared.json("/api/v1/resolve", q=short)["candidates"])
    trace = shared.json("/api/v1/trace", ref="chain/chain")
    assert trace["artifact"]["digest"] == digest(0xC002)
    assert {hop["status"] for hop in trace["hops"]} <= {"found", "missing", "conflict"}
    assert trace["elapsedMs"] >= 0 and isinstance(trace["complete"], bool)
    missing = [hop for hop in trace["hops"] if hop["status"] == "missing"]
    assert missing and all(hop["reason"] for hop in missing), "no SBOM was sent, and the trace says so"


def test_impact_of_a_package(shared):
    component = "pkg:npm/impact-lib@4.17.20"
    body = raw({**CYCLONEDX, "components": [{"type": "library", "name": "impact-lib", "version": "4.17.20", "purl": component}]})
    with_it, without = digest(0x1001), digest(0x1002)
    shared.accept(body, "application/json", subject=with_it)
    shared.accept(raw(deployed("has-it", "r.example/impact:1", "impact", artifactDigest=with_it)))
    shared.accept(raw(deployed("who-knows", "r.example/impact:2", "impact", artifactDigest=without)), wait="visible")
    for asked in (component, "pkg:npm/impact-lib"):
        answer = shared.json("/api/v1/components/impact", purl=asked)
        deployed_rows = [(row["environment"], row["service"], row["digest"]) for row in answer["deployed"]]
        assert deployed_rows == [("impact", "has-it", with_it)], answer
        assert answer["deployed"][0]["components"][0]["purl"] == component
        assert ("impact", "who-knows") in [(row["environment"], row["service"]) for row in answer["unknown"]]
    other = shared.json("/api/v1/components/impact", purl="pkg:npm/impact-lib@9.9.9")
    assert other["deployed"] == []


def test_pages_neither_skip_nor_repeat(shared):
    for n in range(25):
        shared.accept(raw(deployed(f"page-{n:02d}", "r.example/app:1", "pages", time_=f"2026-01-01T00:00:{n:02d}Z")))
    shared.wait_visible()
    seen, token = [], None
    while True:
        page = shared.json("/api/v1/environments/pages/changes", pageSize=7, pageToken=token)
        assert 0 < len(page["changes"]) <= 7, "a token means that more follows"
        seen += [change["service"] for change in page["changes"]]
        shared.accept(raw(deployed("intruder", f"r.example/app:{len(seen)}", "pages")), wait="visible")
        token = page.get("nextPageToken")
        if not token:
            break
    assert seen == [f"page-{n:02d}" for n in reversed(range(25))], "the pages are pinned to the moment of the first"


def test_entries_filters(shared):
    rejected = problem(shared.post(b"{not json", wait="visible"), 422)["index"]
    for n in range(5):
        shared.accept(deployed(f"filtered-{n}", "r.example/app:1"), wait="visible")
    entries = shared.entries(limit=1000)
    indexes = [entry["index"] for entry in entries]
    assert indexes == list(range(len(indexes))), "every index once"
    found = shared.entries(status="rejected")
    assert rejected in [entry["index"] for entry in found] and {entry["status"] for entry in found} == {"rejected"}
    assert {entry["type"] for entry in shared.entries(type="ServiceDeployed")} == {"ServiceDeployed"}
    page = shared.json("/api/v1/entries", **{"from": 3, "limit": 2})
    assert [entry["index"] for entry in page["entries"]] == [3, 4]


def test_intake_adds_up(shared):
    intake = shared.intake()
    by = intake["byStatus"]
    assert intake["total"] == sum(by.get(status, 0) for status in ("accepted", "duplicate", "conflict", "rejected"))
    assert sum(intake["byCode"].values()) >= by.get("rejected", 0) > 0
    assert by["accepted"] + by["conflict"] + by["rejected"] == shared.size()


def test_freshness(shared):
    shared.wait_visible()
    fresh = shared.json("/api/v1/freshness")
    head = fresh["head"]
    assert head["size"] == head["index"] + 1 and head["checkpointSize"] <= head["size"]
    assert fresh["views"] and all(view["nextIndex"] == head["size"] for view in fresh["views"]), fresh
    assert set(fresh["endToEndMs"]) >= {"p50", "p90", "p99"}


# Subscriptions


class Stream:
    """A server-sent-events client, as simple as the specification lets it be."""

    def __init__(self, node, last=None, **query):
        headers = {"accept": "text/event-stream", **({"last-event-id": last} if last else {})}
        self.answer = node.session.get(node.url + "/api/v1/subscribe", params=query, headers=headers, stream=True, timeout=30)
        self.end = time.monotonic() + 30
        assert self.answer.status_code == 200, self.answer.text
        assert self.answer.headers["content-type"].startswith("text/event-stream")

    def events(self):
        fields = {}
        for line in self.answer.iter_lines(chunk_size=1):
            line = line.decode()
            if line:
                # Heartbeats come while nothing happens: the place to notice that too much time went by.
                assert time.monotonic() < self.end, "the stream did not bring what was awaited"
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            else:
                if "id" in fields and "data" in fields and "-" in fields["id"]:
                    yield fields["id"], fields.get("event"), json.loads(fields["data"])
                fields = {}

    def take_until(self, index, view="deployments"):
        taken = []
        for id_, name, data in self.events():
            taken.append((id_, name, data))
            if data.get("index", -1) >= index and name == view:
                break
        self.answer.close()
        return taken


def test_stream_resumes_without_gap_or_repeat(shared):
    start = shared.size() - 1
    last = 0
    for n in range(12):
        last = shared.accept(raw(deployed(f"sse-{n}", "r.example/app:1", "sse")), wait="visible")["index"]
    whole = Stream(shared, **{"from": str(start)}).take_until(last)
    ids = [id_ for id_, _, _ in whole]
    assert len(ids) == len(set(ids))
    keys = [tuple(map(int, id_.split("-"))) for id_ in ids]
    assert keys == sorted(keys) and keys[0][0] > start
    assert {data["index"] for _, _, data in whole} == set(range(start + 1, last + 1)), "each entry is told of"
    for id_, name, data in whole:
        assert data["view"] == name and int(id_.split("-")[0]) == data["index"]
    for cut in (0, len(ids) // 3, len(ids) // 2, len(ids) - 2):
        rest = Stream(shared, last=ids[cut]).take_until(last)
        assert [id_ for id_, _, _ in rest] == ids[cut + 1 :], f"resumed after {ids[cut]}"
    bare = Stream(shared, last=str(start + 2)).take_until(last)
    assert [id_ for id_, _, _ in bare] == [id_ for id_ in ids if int(id_.split("-")[0]) > start + 2]


def test_stream_is_live_from_the_head(shared):
    stream = Stream(shared)
    stop, posted = threading.Event(), []

    def feed():
        while not stop.wait(0.05):
            posted.append(shared.accept(raw(deployed(f"live-{len(posted)}", "r.example/app:1", "live")), wait="visible")["index"])

    before = shared.size()
    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        id_, _, data = next(stream.events())
    finally:
        stop.set()
        feeder.join()
        stream.answer.close()
    assert data["index"] >= before, "nothing from before the subscription"


def test_stream_of_chosen_views(shared):
    start = shared.accept(raw(deployed("chosen", "r.example/app:1", "chosen")), wait="visible")["index"]
    last = shared.accept(raw(deployed("chosen", "r.example/app:2", "chosen")), wait="visible")["index"]
    taken = Stream(shared, views="deployments", **{"from": str(start)}).take_until(last, view="deployments")
    assert taken and {name for _, name, _ in taken} == {"deployments"}


# Proofs


def vkey(node):
    return node.get("/ledger/default/vkey").text.strip()


def test_proof_of_an_entry(shared):
    receipts = [shared.accept(raw(deployed(f"proof-{n}", "r.example/app:1"))) for n in range(3)]
    key = vkey(shared)

    def published_size():
        return shared.head()["checkpointSize"] > receipts[-1]["index"]

    until(published_size, "a checkpoint that holds the entries", 20)
    entries, _ = tlog.read(lambda path: fetch(shared, path), key)
    for receipt in receipts:
        entry = entries[receipt["index"]]
        assert tlog.leaf_hash(entry).hex() == receipt["leafHash"]
        proof = shared.get(f"/api/v1/entries/{receipt['index']}/proof")
        assert proof.status_code == 200, proof.text
        assert tlog.tlog_proof(proof.text, key, entry)[0] == receipt["index"]
        with pytest.raises(tlog.Broken):
            tlog.tlog_proof(proof.text, key, entry + b"\0")


def fetch(node, path):
    answer = node.get(f"/ledger/default/{path}")
    return answer.content if answer.status_code == 200 else None


def test_consistency_proofs(shared):
    key = vkey(shared)
    old = tlog.checkpoint(shared.get("/ledger/default/checkpoint").text, key)
    shared.accept(raw(deployed("consistency", "r.example/app:1")))
    until(lambda: shared.head()["checkpointSize"] > old[1], "a newer checkpoint", 20)
    new = tlog.checkpoint(shared.get("/ledger/default/checkpoint").text, key)
    answer = shared.json("/api/v1/proofs/consistency", **{"from": old[1], "to": new[1]})
    hashes = next(value for value in answer.values() if isinstance(value, list))
    decoded = [bytes.fromhex(h) if len(h) == 64 else base64.b64decode(h) for h in hashes]
    tlog.consistency(old[1], old[2], new[1], new[2], decoded)


# Surroundings


def test_health_metrics_and_openapi(shared):
    for path in ("/livez", "/readyz"):
        assert shared.get(path).status_code == 200, path
    metrics = shared.get("/metrics")
    assert metrics.status_code == 200
    for name in ("sbom_lineage_graph_queries_total", "sbom_lineage_diff_latency_seconds", "sbom_lineage_hover_cache_hits_total",
                 "sbom_lineage_export_size_bytes", "vex_deltas_created_total"):
        assert name in metrics.text, name
    assert "pedigraph_" in metrics.text
    assert "sha256:" not in metrics.text, "digests are never labels"
    openapi = shared.json("/openapi.json")
    assert openapi["openapi"].startswith("3.1")
    for path in ("/api/v1/events", "/api/v1/trace", "/api/v1/entries", "/api/v1/freshness", "/api/v1/lineage/{digest}"):
        assert path in openapi["paths"], path


def test_pages_for_people_need_no_script(shared):
    shared.accept(raw(published("page.example/app:1", digest(0x9A6E))), wait="visible")
    for path in ("/", f"/artifacts/{digest(0x9A6E)}"):
        answer = shared.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        assert answer.headers["content-type"].startswith("text/html")
        assert "<h1" in answer.text
