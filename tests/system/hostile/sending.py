"""Attacks by what is sent: input whose cost is not its size, forged events, secrets."""

import base64
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


@attack("4", "four zstd bodies at once, 256 MiB each when they are unpacked (ratio just below 200)", "accepted or refused with a code")
def bombs_within_the_ratio(attacker):
    packed = bomb(256 << 20, 195)
    answers = attacker.crowd(4, lambda client, n: client.post(packed, "application/json", subject=DIGEST % n, headers={"content-encoding": "zstd"}))
    assert all(answer.status in (200, 201) or answer.code for answer in answers), answers
    said = [answer.status if answer.status in (200, 201) else answer.code for answer in answers]
    return f"{len(packed) >> 10} KiB each: " + ", ".join(f"{said.count(what)} × {what}" for what in sorted(set(said), key=str))
