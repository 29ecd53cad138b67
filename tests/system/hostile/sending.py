"""Attacks by what is sent: input whose cost is not its size, forged events, secrets."""

import base64
import contextlib
import json
import random
import time

import zstandard

from hostile.table import attack
from hostile.wire import CLOUDEVENT, DIGEST, event

INTOTO = "application/vnd.in-toto+json"


def statement(subjects, predicate_type, predicate):
    return json.dumps({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "s", "digest": {"sha256": DIGEST[7:] % number}} for number in subjects],
        "predicateType": predicate_type,
        "predicate": predicate,
    }, separators=(",", ":")).encode()


def accepted_or(answer, *codes):
    """The event is durable, or refused with one of these codes."""
    assert answer.status == 201 or (answer.status in (413, 422) and answer.code in codes), answer
    return "accepted" if answer.status == 201 else answer.code


def size_of(directory):
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


@attack("1", "three statements of 1,024 subjects and 512 materials", "accepted, visible, the views grow by less than 64 MiB; or TOO_MANY_ITEMS")
def subjects_times_materials(attacker):
    materials = [{"uri": f"pkg:npm/m@{n}", "digest": {"sha256": DIGEST[7:] % (0xB << 240 | n)}} for n in range(512)]
    before, said = size_of(attacker.data), set()
    for n in range(3):
        build = {"buildDefinition": {"buildType": "https://hostile.example/build", "resolvedDependencies": materials},
                 "runDetails": {"builder": {"id": f"https://hostile.example/{n}"}}}
        body = statement(range(n << 20, (n << 20) + 1024), "https://slsa.dev/provenance/v1", build)
        said.add(accepted_or(attacker.send(body, INTOTO), "TOO_MANY_ITEMS"))
    attacker.wait_visible()
    grown = (size_of(attacker.data) - before) / 2**20
    assert grown < 64, f"{len(body) * 3 >> 10} KiB made the data grow by {grown:.0f} MiB"
    return f"{', '.join(said)}; data grew by {grown:.1f} MiB"


@attack("2", "an SBOM of 1 MiB with long names as predicate of 8,000 subjects; an OpenVEX whose version is 1 MiB; a scan whose scanner is",
        "accepted, or TOO_LARGE or TOO_MANY_ITEMS")
def texts_repeated(attacker):
    long = "n" * 300_000
    sbom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": "urn:uuid:" + long,
            "metadata": {"tools": [{"name": long}], "component": {"type": "application", "name": long, "version": "1"}},
            "components": [{"type": "library", "name": f"c{n}", "purl": f"pkg:npm/c{n}@1"} for n in range(200)]}
    vex = {"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://hostile.example/vex", "author": "x", "timestamp": "2026-01-01T00:00:00Z",
           "version": "9" * (1 << 20),
           "statements": [{"vulnerability": {"name": f"CVE-2026-{n}"}, "products": [{"@id": f"pkg:npm/p{n}@1"}], "status": "fixed"} for n in range(10_000)]}
    findings = [{"vulnerability": f"CVE-2026-{n}", "purl": "pkg:npm/c1@1", "severity": "high"} for n in range(20_000)]
    scan = {"artifactDigest": DIGEST % 1, "scanner": "s" * (1 << 20), "scanId": DIGEST % 2, "findings": findings}
    texts = {"sbom": (statement(range(8_000), "https://cyclonedx.org/bom", sbom), INTOTO),
             "vex": (json.dumps(vex).encode(), "application/json"),
             "scan": (event("scan-completed", scan, "scan"), CLOUDEVENT)}
    limits = "TOO_LARGE", "TOO_MANY_ITEMS", "SCHEMA_VIOLATION"
    said = {name: accepted_or(attacker.send(*text), *limits) for name, text in texts.items()}
    attacker.wait_visible()
    return ", ".join(f"{name}: {what}" for name, what in said.items())


@attack("3", "60,000 conflicting events of one source and id, then the process is killed", "each a conflict; the last 10,000 take less than twice the first",
        crash=True)
def one_id_for_ever(attacker):
    data = ({"artifactDigest": DIGEST % n, "artifactRef": "r.example/same:1"} for n in range(60_000))
    seconds = attacker.send_many([event("artifact-published", each, "same") for each in data], at_once=1_000, pause=0.05)
    first, last = sum(seconds[:10]), sum(seconds[-10:])
    assert last < 2 * first + 0.5, f"{first:.2f} s for the first 10,000, {last:.2f} s for the last"
    begin = time.monotonic()
    answer = attacker.send(event("artifact-published", {"artifactDigest": DIGEST % 0xFFFFFF, "artifactRef": "r.example/same:2"}, "same"))
    alone = time.monotonic() - begin
    assert answer.status == 201 and answer.json()["status"] == "conflict", answer
    assert alone < 0.5, f"one more takes {alone:.2f} s"
    return f"10,000 in {first:.2f} s at first, in {last:.2f} s at last; one more: {alone * 1000:.0f} ms"


@attack("4", "uploads of together 400,000 chunks of one byte that stay open, many at first, then fewer and fewer", "each accepted (they are 400 KB in all), or 429")
def many_small_parts(attacker):
    answers, open_ = [], []
    for uploads, parts in ((8, 32_000), (100, 1_000), (100, 400)):
        for n in range(uploads):
            body = event("artifact-published", {"artifactDigest": DIGEST % n, "artifactRef": "r.example/parts:1"}, f"parts-{parts}-{n}")
            chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in b" " * (parts - len(body)) + body)
            sock = attacker.connect()
            open_.append(sock)
            try:
                sock.sendall(attacker.head("POST", "/api/v1/events", f"content-type: {CLOUDEVENT}", "transfer-encoding: chunked") + chunks)
            except OSError:
                pass  # refused: the answer is there
    time.sleep(3)
    for sock in open_:
        try:
            sock.sendall(b"0\r\n\r\n")
            answers.append(int(sock.recv(65536).split(b" ", 2)[1]))
        except (OSError, IndexError):
            answers.append(0)
    assert set(answers) <= {200, 201, 429}, {status: answers.count(status) for status in answers}
    return ", ".join(f"{answers.count(status)} × {status}" for status in sorted(set(answers)))


def bomb(size, ratio):
    """A document in one zstd frame that is `ratio` times smaller."""
    random_text = base64.b64encode(random.Random(size).randbytes(int(size / ratio * 0.98)))
    head = b'{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[],"x":"' + random_text + b'"'
    packer = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    parts, blank = [packer.compress(head)], b" " * (1 << 20)
    left = size - len(head) - 1
    while left:
        parts.append(packer.compress(blank[:left]))
        left -= min(left, len(blank))
    packed = b"".join([*parts, packer.compress(b"}"), packer.flush()])
    assert ratio * 0.9 < size / len(packed) < 200, size / len(packed)
    return packed


@attack("4", "24 events of 15 MiB each, all but their last byte, which never comes", "a place in memory, or OVERLOADED with Retry-After", seconds=90)
def bodies_that_never_end(attacker):
    length = 15 << 20
    head = attacker.head("POST", "/api/v1/events", "content-type: application/json", f"content-length: {length}")
    part = b" " * (length - 1)
    refused = 0
    for _ in range(24):
        sock = attacker.keep(attacker.connect())
        with contextlib.suppress(OSError):  # refused while it was sent: the answer says why
            sock.sendall(head + part)
        sock.settimeout(0.2)
        try:
            came = sock.recv(4_096)
        except TimeoutError:
            continue
        except ConnectionResetError:
            came = b""
        refused += 1
        assert not came or (came.startswith(b"HTTP/1.1 503") and b"retry-after" in came.lower()), came
    assert refused, "there is memory for all of them"
    return f"{24 - refused} held, {refused} refused"


@attack("4", "four zstd bodies at once, 256 MiB each when they are unpacked (ratio just below 200)", "accepted or refused with a code")
def bombs_within_the_ratio(attacker):
    packed = bomb(256 << 20, 195)
    answers = attacker.crowd(4, lambda client, n: client.post(packed, "application/json", subject=DIGEST % n, headers={"content-encoding": "zstd"}))
    assert all(answer.status in (200, 201) or answer.code for answer in answers), answers
    said = [answer.status if answer.status in (200, 201) else answer.code for answer in answers]
    return f"{len(packed) >> 10} KiB each: " + ", ".join(f"{said.count(what)} × {what}" for what in sorted(set(said), key=str))


@attack("5", "70 events whose environment, service or run has a name of 900 KB", "refused with TOO_LARGE, and the lists of environments answer")
def long_names(attacker):
    long = "e" * 900_000
    for n in range(70):
        data = {"service": "s", "environment": f"{n}", "artifactRef": "r.example/long:1", "run": "1"}
        data[("environment", "environment", "service", "run")[n % 4]] = f"{n}{long}"
        answer = attacker.send(event("service-deployed", data, f"long-{n}"))
        assert (answer.status, answer.code) in ((422, "TOO_LARGE"), (413, "TOO_LARGE")), answer
    attacker.wait_visible()
    for path in ("/api/v1/environments", "/"):
        answer = attacker.get(path)
        assert answer.status == 200 and len(answer.body) < 100_000, (path, answer.status, len(answer.body))
    return "all refused"


@attack("6", "message-rejected events with codes and formats of the sender's choice", "refused, and neither intake counts nor labels of metrics name them")
def forged_rejects(attacker):
    before = attacker.get("/api/v1/intake").json()
    many = 300
    for n in range(many):
        data = {"code": f"FORGED_{n}", "reason": "forged", "format": f"forged-{n}", "attributes": [{"name": "a", "value": "b"}]}
        answer = attacker.send(event("message-rejected", data, f"forged-{n}"))
        assert answer.status == 422 and answer.code == "CONTROL_EVENT_FORBIDDEN", answer
    attacker.wait_visible()
    after = attacker.get("/api/v1/intake").json()
    assert after["byStatus"]["rejected"] - before["byStatus"].get("rejected", 0) == many, after
    assert after["byCode"] == {"CONTROL_EVENT_FORBIDDEN": many}, after["byCode"]
    for path in ("/metrics", "/api/v1/intake"):
        assert b"orged-" not in attacker.get(path).body and b"FORGED" not in attacker.get(path).body, path
    return f"{many} refused"


SECRETS = {
    "github": "ghp_" + "Zq3" * 12,
    "aws": "AKIA" + "QZ3FGH7JKLMNPRS2",
    "gitlab": "glpat-" + "Yx7mKq2wPz9LrT4vBn8c",
    "slack": "xoxb-" + "204738291034-204738291035-" + "aB3dE5fG7hJ9kL1mN3pQ5rS7",
    "url": "Pw7hunter2Zx",
}


@attack("16", "events with secrets behind =, in escapes, in base64, in ids and in signed payloads", "no answer, no log line and no unsigned body shows one")
def secrets(attacker):
    text = "GITHUB_TOKEN={github} AWS_ACCESS_KEY_ID={aws} x={gitlab} y={slack}".format(**SECRETS)
    plain = event("run-finished", {"run": "1", "errors": text, "url": "https://user:{url}@git.example/x".format(**SECRETS)}, "plain")
    escaped = event("run-finished", {"run": "2", "errors": "-"}, "escaped").replace(
        b'"-"', b'"' + "".join(f"\\u{ord(c):04x}" for c in SECRETS["github"]).encode() + b" https:\\/\\/u:" + SECRETS["url"].encode() + b'@h.example\\/"')
    inside = json.dumps({"specversion": "1.0", "id": "base64", "source": "hostile", "type": "io.pedigraph.run-finished.v1",
                         "datacontenttype": "application/json", "data_base64": base64.b64encode(json.dumps({"run": "3", "errors": text}).encode()).decode()}).encode()
    named = event("run-finished", {"run": "4"}, f"token={SECRETS['github']}", f"https://u:{SECRETS['url']}@h.example/")
    other = named.replace(SECRETS["github"].encode(), b"ghp_" + b"Kd9" * 12)
    payload = statement([7], "https://slsa.dev/provenance/v1", {"buildDefinition": {"buildType": text}, "runDetails": {"builder": {"id": text}}})
    signed = json.dumps({"payloadType": INTOTO, "payload": base64.b64encode(payload).decode(), "signatures": [{"sig": "AAAA"}]}).encode()
    indexes = {}
    for name, body, kind in (("plain", plain, CLOUDEVENT), ("escaped", escaped, CLOUDEVENT), ("base64", inside, CLOUDEVENT), ("named", named, CLOUDEVENT),
                             ("other", other, CLOUDEVENT), ("signed", signed, "application/json")):
        answer = attacker.send(body, kind, wait="visible")
        assert answer.status == 201 and answer.json()["status"] == "accepted", (name, answer)
        indexes[name] = answer.json()["index"]
    return shown(attacker, indexes)


def shown(attacker, indexes):
    """Nobody who asks sees a secret."""
    paths = ["/api/v1/entries", "/", f"/api/v1/artifacts/{DIGEST % 7}", f"/artifacts/{DIGEST % 7}", "/ledger/attacker/tile/entries/000.p/6"]
    paths += [f"/api/v1/entries/{n}" for n in indexes.values()] + [f"/entries/{n}" for n in indexes.values()]
    paths += [f"/api/v1/entries/{n}/body" for name, n in indexes.items() if name != "signed"]
    found = [(path, kind) for path in paths for kind, secret in SECRETS.items() if secret.encode() in decoded(attacker.get(path).body)]
    found += [("the log", kind) for file in attacker.data.parent.glob("*.log") for kind, secret in SECRETS.items() if secret.encode() in file.read_bytes()]
    assert not found, found
    return f"{len(paths)} answers and the log show none of {len(SECRETS)}"


def decoded(body):
    """The bytes, and what their escapes and base64 say."""
    try:
        text = json.dumps(json.loads(body), ensure_ascii=False).encode()
        inner = json.loads(body).get("data_base64", "")
        return body + text + base64.b64decode(inner)
    except (ValueError, AttributeError):
        return body
