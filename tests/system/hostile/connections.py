"""Attacks by connections: answers that nobody reads, streams that stall, more requests than one may have."""

import collections
import contextlib
import json
import threading
import time

from hostile.table import attack
from hostile.wire import DIGEST, event

# What a kernel takes in for a reader that does not read.
SMALL_WINDOW = 4096


@attack("8", "500 readers of a body of 12 MiB and of an evidence pack who read nothing, and stay", "probes and the neighbour are answered, SIGTERM ends the server",
        seconds=45)
def slow_readers(attacker):
    large = event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/large:1"}, "large", padding="").replace(
        b'"padding": ""', b'"x": 1' + b" " * (12 << 20))
    index = attacker.send(large).json()["index"]
    export = json.dumps({"artifactDigests": [DIGEST % 1], "sign": True}).encode()
    pack = attacker.send(export, "application/json", path="/api/v1/lineage/export")
    assert pack.status in (200, 201), pack
    paths = f"/api/v1/entries/{index}/body", "/" + pack.json()["downloadUrl"].split("/", 3)[-1] if "://" in pack.json()["downloadUrl"] else pack.json()["downloadUrl"]
    for n in range(500):
        sock = attacker.keep(attacker.connect(receive=SMALL_WINDOW))
        sock.sendall(attacker.head("GET", paths[n % 10 == 9]))
        if n % 100 == 99:
            time.sleep(1)  # a tenant has a number of them in each second
    return f"{answered(attacker.kept)} of 500 begin to be answered"


def answered(socks):
    """How many of these got the head of a 200."""
    count = 0
    for sock in socks:
        sock.settimeout(0.02)
        try:
            count += sock.recv(12).endswith(b" 200")
        except OSError:
            pass
    return count


@attack("9", "4,200 connections that pipeline 100 requests each and never read, without a token", "the neighbour is answered")
def answers_that_nobody_reads(attacker):
    attacker.headers = {}
    asked = attacker.head("GET", "/openapi.json") * 100
    opened = failed = 0
    for _ in range(min(4_200, attacker.connections_max)):
        try:
            sock = attacker.keep(attacker.connect(receive=SMALL_WINDOW, timeout=1))
            sock.setblocking(False)
            sock.send(asked)
            opened += 1
        except OSError:
            failed += 1
            if failed > 50:
                break
    time.sleep(3)
    return f"{opened} connections, {failed} refused"


@attack("9", "500 connections that ask for an answer of 4 MB each and never read", "200, or OVERLOADED and 429 with Retry-After", seconds=90)
def large_answers_that_nobody_reads(attacker):
    long = "x" * 1_900
    attacker.prepare([event("run-started", {"run": f"{n}-{long[:900]}"}, f"{n}-{long}", source=f"s{n % 7}-{long}") for n in range(1_000)])
    path = "/api/v1/entries?limit=1000"
    size = len(attacker.get(path).body)
    for n in range(500):
        sock = attacker.keep(attacker.connect(receive=SMALL_WINDOW))
        sock.sendall(attacker.head("GET", path))
        if n % 100 == 99:
            time.sleep(1)  # a tenant has a number of them in each second
    heads = [head_of(sock) for sock in attacker.kept]
    statuses = collections.Counter(head[9:12].decode() for head in heads)
    assert set(statuses) <= {"200", "429", "503"} and statuses["503"], statuses
    assert all(b"retry-after" in head.lower() for head in heads if head[9:12] != b"200"), statuses
    return f"answers of {size / 1e6:.1f} MB: " + ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))


def head_of(sock):
    """What came at once: the head, and the first bytes of the body."""
    sock.settimeout(20)
    return sock.recv(2_048)


def stream_head(attacker, *lines):
    sock = attacker.keep(attacker.connect())
    sock.sendall(attacker.head("GET", "/api/v1/subscribe?views=components", "accept: text/event-stream", *lines))
    return sock


@attack("10", "32 subscribers, half of whom do not read, beside an SBOM of 26 MiB", "streams or 429 with Retry-After; the SBOM is accepted", seconds=90)
def subscribers_beside_an_sbom(attacker):
    socks = []
    for _ in range(2):  # a tenant has a number of them in each second
        socks += [stream_head(attacker) for _ in range(16)]
        time.sleep(1)
    heads = [sock.recv(4096) for sock in socks]
    statuses = [int(head.split(b" ", 2)[1]) for head in heads]
    assert set(statuses) <= {200, 429, 503}, statuses
    assert all(b"retry-after" in head.lower() for head, status in zip(heads, statuses, strict=True) if status != 200)
    streams = [sock for sock, status in zip(socks, statuses, strict=True) if status == 200]
    for sock in streams[::2]:
        attacker.background(lambda sock=sock: drain(sock))
    rows = ",".join('{"type":"library","bom-ref":"c%d","group":"org.example.group%d","name":"component-%d","version":"1.%d.0","licenses":[{"license":{"id":"MIT"}}],'
                    '"purl":"pkg:maven/org.example.group%d/component-%d@1.%d.0"}' % (n, n % 97, n, n % 13, n % 97, n, n % 13) for n in range(130_000))
    body = ('{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[' + rows + "]}").encode()
    answer = attacker.send(body, "application/vnd.cyclonedx+json", path="/api/v1/documents", subject=DIGEST % 1)
    assert answer.status == 201, answer
    attacker.wait_visible()
    return f"{len(streams)} streams, SBOM of {len(body) >> 20} MiB"


def drain(sock):
    sock.settimeout(None)
    while sock.recv(65536):
        pass


@attack("10", "Last-Event-ID beyond the head", "the stream begins with reset")
def resumed_beyond_the_head(attacker):
    attacker.send(event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/r:1"}, "r"), wait="visible")
    for id_ in ("1000000000-0", "18446744073709551615-0", "1000000000"):
        sock = stream_head(attacker, f"last-event-id: {id_}")
        sock.settimeout(5)
        came = b""
        while b"event: reset" not in came:
            part = sock.recv(4096)
            assert part and len(came) < 10_000, came
            came += part
        assert came.startswith(b"HTTP/1.1 200"), came
    return "reset each time"


def of_class(attacker):
    """For each class of SPEC §8: over how many connections how many requests come at once, and one of them."""
    def post(path, body, kind="application/cloudevents+json"):
        return attacker.head("POST", path, f"content-type: {kind}", f"content-length: {len(body)}") + body

    started = event("run-started", {"run": "1"}, "flood")
    document = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}'
    return {
        "graph": (8, 800, attacker.head("GET", f"/api/v1/lineage/{DIGEST % 1}")),
        "intake": (16, 3_200, post("/api/v1/events", started)),
        "waiters": (16, 640, post("/api/v1/events?wait=visible", started)),
        "uploads": (4, 80, post(f"/api/v1/documents?subject={DIGEST % 1}", document, "application/json")),
        "export": (4, 20, post("/api/v1/lineage/export", b'{"artifactDigests":["%s"]}' % (DIGEST % 1).encode(), "application/json")),
        "packs": (8, 400, attacker.head("GET", "/api/v1/entries/0/body")),
        "open": (8, 6_400, attacker.head("GET", "/ledger/attacker/checkpoint").replace(b"authorization", b"x-nothing")),
    }


@attack("11", "one tenant floods each class: questions, events, waiters, documents, packs, streams, what needs no token",
        "some of each are refused: 429 with Retry-After; the rest is answered, or told to come later", seconds=60)
def floods(attacker):
    attacker.send(event("artifact-published", {"artifactDigest": DIGEST % 1, "artifactRef": "r.example/f:1"}, "f"), wait="visible")
    said = {name: sum(attacker.crowd(many, lambda client, _: flood(client, requests // many, one))) for name, (many, requests, one) in of_class(attacker).items()}
    said["streams"] = sum(polite(attacker.keep(sock)) for sock in [stream_head(attacker) for _ in range(100)])
    assert all(said.values()), f"never refused: {[name for name, refused in said.items() if not refused]}; {said}"
    return "refused: " + ", ".join(f"{name} {refused}" for name, refused in said.items())


def flood(client, requests, one):
    """So many requests one behind the other on a connection, the answers read as they come; how many were refused."""
    came = bytearray()
    with client.connect(timeout=10) as sock:
        sender = threading.Thread(target=sock.sendall, args=(one * requests,), daemon=True)
        sender.start()
        sock.settimeout(3)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := sock.recv(1 << 20):
                came += part
                if came.count(b"HTTP/1.1 ") >= requests and came.endswith((b"}", b"\n")):
                    break
    heads = [head.split(b"\r\n\r\n")[0].lower() for head in came.split(b"HTTP/1.1 ")[1:]]
    assert heads and all(head[:1] in b"24" or head.startswith(b"503") for head in heads), heads[:3]
    abrupt = [head for head in heads if head[:3] in (b"429", b"503") and b"retry-after: " not in head]
    assert not abrupt, abrupt[:3]
    return sum(head.startswith(b"429") for head in heads)


def polite(sock):
    """Whether a request was refused, which says when to come back."""
    sock.settimeout(0.2)
    try:
        head = sock.recv(4096).lower()
    except TimeoutError:
        return False
    assert b" 5" != head[8:10], head
    assert b"retry-after" in head or head[9:12] != b"429", head
    return head[9:12] == b"429"
