"""Input that nobody should send: a reject entry each with the right code, the process stays, the next event is accepted."""

import bz2
import contextlib
import gzip
import hashlib
import json
import socket
import threading
from urllib.parse import urlsplit

import pytest
import requests

import bad
from pedigraph import BATCH, CLOUDEVENT, NDJSON, deployed, digest, problem, until

DOCUMENTS = list(bad.documents())
ENVELOPES = list(bad.envelopes())


def still_works(node):
    node.alive()
    event = json.dumps(deployed("after", "r.example/app:1", "after-bad")).encode()
    assert node.post(event, CLOUDEVENT).status_code == 201


@pytest.mark.parametrize(
    ("content_type", "body", "codes"),
    [pytest.param("application/json", body, codes, id=name) for name, body, codes in DOCUMENTS]
    + [pytest.param(CLOUDEVENT, body, codes, id=name) for name, body, codes in ENVELOPES],
)
def test_refused_as_an_entry(shared, content_type, body, codes):
    size = shared.size()
    refused = problem(shared.post(body, content_type), 422, codes)
    assert refused["index"] == size, "exactly one entry"
    entry = shared.json(f"/api/v1/entries/{size}")
    entry = entry.get("entry", entry)
    assert (entry["status"], entry["code"]) == ("rejected", refused["code"])
    assert shared.get(f"/api/v1/entries/{size}/body").content in (body, _plain(body))
    still_works(shared)


def _plain(body):
    """A compressed body may be kept as it came or as it was read."""
    try:
        return gzip.decompress(body)
    except (OSError, EOFError):
        return body


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_empty_bodies(shared, body):
    answer = shared.post(body, "application/json")
    assert answer.status_code in (400, 422), answer.text
    problem(answer, answer.status_code)
    still_works(shared)


def test_bad_elements_do_not_spoil_the_batch(shared):
    good = [json.dumps(deployed(f"good-{n}", "r.example/app:1")).encode() for n in range(3)]
    answer = shared.post(b"\n".join([good[0], b"{", good[1], b"[" * 500, b"\xff\xff", good[2]]), NDJSON)
    assert answer.status_code == 207, answer.text
    statuses = [row["status"] for row in answer.json()["results"]]
    assert statuses == ["accepted", "rejected", "accepted", "rejected", "rejected", "accepted"]
    assert shared.post(b'{"not": "an array"}', BATCH).status_code in (400, 422)
    assert shared.post(b"[1, 2]", BATCH).status_code in (207, 422)
    still_works(shared)


def test_too_many_elements(shared):
    body = b"\n".join(b'{"n": %d}' % n for n in range(10_001))
    answer = shared.post(body, NDJSON)
    assert answer.status_code in (413, 422), answer.text[:300]
    problem(answer, answer.status_code, ("TOO_MANY_ITEMS", "TOO_LARGE"))
    still_works(shared)


def test_digest_in_capitals_is_the_same_digest(shared):
    lower = digest(0xABCDEF)
    for n, spelling in enumerate([lower.upper(), "sha256:" + lower[7:].upper(), "SHA-256:" + lower[7:]]):
        event = deployed(f"capitals-{n}", "r.example/app:1", "capitals", artifactDigest=spelling)
        shared.accept(json.dumps(event).encode(), wait="visible")
    services = shared.json("/api/v1/environments/capitals")["services"]
    assert {service["running"][0]["digest"] for service in services} == {lower}


@pytest.mark.parametrize("subject", ["sha256:zz", "sha256:" + "a" * 63, "latest", "sha256:" + "g" * 64])
def test_malformed_subject_beside_a_document(shared, subject):
    body = json.dumps({**bad.CYCLONEDX, "serialNumber": subject}).encode()
    problem(shared.post(body, subject=subject), 422, "DIGEST_INVALID")
    still_works(shared)


def test_a_bad_purl_rejects_nothing(shared):
    components = [{"type": "library", "name": "bad", "purl": "not a purl", "hashes": [{"alg": "SHA-256", "content": "short"}]},
                  {"type": "library", "name": "good", "version": "1", "purl": "pkg:npm/good-beside-bad@1"}]
    body = json.dumps({**bad.CYCLONEDX, "metadata": {"timestamp": "yesterday"}, "components": components}).encode()
    shared.accept(body, "application/json", subject=digest(0xBAD), wait="visible")
    impact = shared.json("/api/v1/components/impact", purl="pkg:npm/good-beside-bad@1")
    assert digest(0xBAD) in [row["digest"] for row in impact["notDeployed"]]


def send_raw(node, data, end=False):
    """Bytes as they are on a connection; returns what comes back until it is closed. `end`: nothing more will be sent."""
    parts = urlsplit(node.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(data)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def request(headers, body=b"{}"):
    lines = [b"POST /api/v1/events HTTP/1.1", b"Host: localhost", b"Connection: close", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([b"Content-Type: application/json", b"ce-specversion: 1.0", b"ce-id: \xff\xfe", b"ce-source: x", b"ce-type: y"], id="invalid UTF-8"),
        pytest.param([b"Content-Type: application/json", b"Pedigraph-Subject: \xff\xfe"], id="invalid UTF-8 in the subject"),
        pytest.param([b"Content-Type: application/json", b"ce-specversion: 1.0", b"ce-id: a%C3%28", b"ce-source: x", b"ce-type: y"], id="bad percent encoding"),
        pytest.param([b"Content-Type: \xff"], id="invalid content type"),
        pytest.param([b"X: " + b"y" * (128 << 10)], id="header block too large"),
        pytest.param([b"Content-Type: application/json"] + [b"ce-a%d: b" % n for n in range(300)], id="too many attributes"),
    ],
)
def test_bad_headers(shared, headers):
    answer = send_raw(shared, request(headers))
    status = int(answer.split(b" ", 2)[1])
    assert status in (400, 413, 415, 422, 431), answer[:300]
    still_works(shared)


def test_bytes_that_are_no_http(shared):
    send_raw(shared, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), end=True)
    send_raw(shared, b"GET /api/v1/environments/%ff%fe%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    send_raw(shared, b"POST /api/v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nshort", end=True)
    still_works(shared)
    for path in ("/api/v1/trace?ref=%00%ff", "/api/v1/resolve?q=" + "a" * 5000, "/api/v1/components/impact?purl=pkg:npm/%25%25%25",
                 "/ledger/default/tile/99/000", "/ledger/../../etc/passwd/checkpoint", "/ledger/default/tile/entries/x999/999"):
        answer = shared.session.get(shared.url + path, timeout=30)
        assert answer.status_code < 500, f"{path}: {answer.status_code}"
    still_works(shared)


def test_rejects_can_be_driven_again(shared):
    index = problem(shared.post(b'{"driven": "again"}'), 422, "UNSUPPORTED_FORMAT")["index"]
    answer = shared.session.post(f"{shared.url}/api/v1/rejects/{index}/replay", timeout=30)
    assert answer.status_code in (200, 422), answer.text
    assert answer.json().get("code") == "UNSUPPORTED_FORMAT" or answer.json().get("status") == "duplicate"


def slow_document():
    """Some hundred milliseconds of a decoder."""
    components = [{"type": "library", "name": f"n{n}", "purl": f"pkg:npm/n{n}@1.0.{n}"} for n in range(150_000)]
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}).encode()


def slow_to_unpack():
    """Some hundred milliseconds of bzip2."""
    return bz2.compress(slow_document())


def slow_to_split():
    """The same, of events."""
    noise = lambda n: "".join(hashlib.sha256(b"%d %d" % (n, part)).hexdigest() for part in range(60))
    events = [deployed(f"split-{n}", "r.example/app:1", "split", id_=f"split-{n}", reason=noise(n)) for n in range(2_000)]
    return bz2.compress("\n".join(map(json.dumps, events)).encode())


def kill_while_it_decodes(node, body, content_type):
    """As the kernel does it to a process that takes too much memory."""
    kept = hashlib.sha256(body).digest()

    def is_decoding():
        return kept in (node.data / "decoding").read_bytes()

    def send():
        with contextlib.suppress(requests.RequestException):
            node.post(body, content_type)

    sender = threading.Thread(target=send)
    sender.start()
    until(is_decoding, "the decoder has it", 30, node.alive)
    node.kill()
    sender.join()


@pytest.mark.parametrize(
    ("slow", "content_type"),
    [(slow_document, "application/json"), (slow_to_unpack, "application/json"), (slow_to_split, NDJSON)],
    ids=["decoded", "unpacked", "split"],
)
def test_what_ended_the_process_twice_is_set_aside(nodes, slow, content_type):
    node, body = nodes(), slow()
    for _ in range(2):
        kill_while_it_decodes(node, body, content_type)
        node.start()
    refused = problem(node.post(body, content_type), 422, "DECODER_DIED")
    assert node.get(f"/api/v1/entries/{refused['index']}/body").content == body
    assert "pedigraph_set_aside_messages_total 1" in node.get("/metrics").text
    still_works(node)
    replayed = node.post(b"", None, path=f"/api/v1/rejects/{refused['index']}/replay")
    assert replayed.status_code == 201, replayed.text[:1_000]
    # Decoded after all: it is like any other.
    again = node.post(body, content_type)
    rows = again.json().get("results", [again.json()])
    assert {row["status"] for row in rows} == {"duplicate"}, again.text[:1_000]
