"""The program under test as a black box: start it, kill it, ask it, wait for it.

Nothing here knows the inside of Pedigraph. It is driven by its command line and its HTTP API only.
"""

import hashlib
import json
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlencode

import requests

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("PEDIGRAPH_BIN", ROOT / "target" / "release" / "pedigraph"))
CORPORA = Path(os.environ.get("PEDIGRAPH_CORPORA", ROOT.parent / "shared" / "corpora"))
POLL_SECONDS = 0.01
CLOUDEVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
NDJSON = "application/x-ndjson"


def until(condition, what, deadline=30.0, alive=None):
    """Polls until `condition()` gives something true and returns that; fails loudly at the deadline."""
    end = time.monotonic() + deadline
    while True:
        found = condition()
        if found:
            return found
        if alive is not None:
            alive()
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline} s still not: {what}")
        time.sleep(POLL_SECONDS)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more):
    """The caller's environment without settings of its own for Pedigraph. View roots are entries too: unless a test asks
    for them none is recorded, so that entries can be counted."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PEDIGRAPH_")}
    return {**kept, "RUST_BACKTRACE": "0", "PEDIGRAPH_VIEW_ROOT_INTERVAL_MS": "0", **more}


class Node:
    """One server process on one data directory; `start` again after `kill` is a restart."""

    def __init__(self, data, *, kafka=None, topics=None, group=None, role="up", listen="127.0.0.1:0", options=(), env=None, wrapper=()):
        self.data = Path(data)
        self.arguments = [role, "--data", str(self.data), "--listen", listen]
        if kafka:
            self.arguments += ["--kafka", kafka]
        if topics:
            self.arguments += ["--topics", ",".join(topics)]
        if group:
            self.arguments += ["--group", group]
        self.arguments += list(options)
        self.wrapper = list(wrapper)
        self.env = environment(**(env or {}))
        self.log = self.data.parent / f"{self.data.name}-{role}.log"
        self.process = None
        self.url = None
        self.session = None

    def start(self, deadline=30.0):
        assert self.process is None, "already started"
        self.data.parent.mkdir(parents=True, exist_ok=True)
        log = self.log.open("ab")
        self.process = subprocess.Popen(
            [*self.wrapper, BINARY, *self.arguments], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=self.env
        )
        log.close()
        lines = queue.Queue()
        threading.Thread(target=_pump, args=(self.process.stdout, lines, self.log), daemon=True).start()
        end = time.monotonic() + deadline
        while True:
            try:
                line = lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no 'listening on' line within {deadline} s\n{self.tail()}") from None
            if line is None:
                code, self.process = self.process.wait(), None
                raise AssertionError(f"exited with {code} before it listened\n{self.tail()}")
            found = re.search(r"listening on (http://\S+)", line)
            if found:
                self.url = found.group(1).rstrip("/")
                self.session = requests.Session()
                return self

    def alive(self):
        assert self.process is not None and self.process.poll() is None, (
            f"the server is gone, exit code {self.process and self.process.returncode}\n{self.tail()}"
        )

    def kill(self):
        """Power cut of the process: no chance to say anything."""
        self._end(signal.SIGKILL)

    def stop(self):
        """Asked to end; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, how):
        if self.process is None:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(how)
        try:
            code = process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"did not end within 30 s after {how.name}\n{self.tail()}") from None
        if self.session:
            self.session.close()
        return code

    def restart(self):
        self.kill()
        return self.start()

    def tail(self, lines=40):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    # HTTP

    def get(self, path, timeout=30, headers=None, **query):
        query = {name.rstrip("_"): value for name, value in query.items() if value is not None}
        return self.session.get(self.url + path, params=escaped(query), timeout=timeout, headers=headers)

    def json(self, path, **query):
        answer = self.get(path, **query)
        assert answer.status_code == 200, f"GET {path} {query}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def post(self, body, content_type="application/json", path="/api/v1/events", headers=None, timeout=60, **query):
        if not isinstance(body, (bytes, bytearray)):
            body = json.dumps(body).encode()
        headers = {**({"content-type": content_type} if content_type else {}), **(headers or {})}
        return self.session.post(self.url + path, data=body, headers=headers, params=escaped(query), timeout=timeout)

    def accept(self, body, content_type=CLOUDEVENT, **more):
        answer = self.post(body, content_type, **more)
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:500]}"
        return answer.json()

    # What the ledger holds

    def head(self):
        return self.json("/api/v1/freshness")["head"]

    def size(self):
        return self.head()["size"]

    def checkpoint(self):
        """The default log's newest published checkpoint; empty where there is none."""
        answer = self.get("/ledger/default/checkpoint")
        return answer.text if answer.status_code == 200 else ""

    def signed_size(self):
        """The size that it signs; nothing where there is none."""
        lines = self.checkpoint().split("\n")
        return int(lines[1]) if len(lines) > 1 else None

    def ready(self):
        """The status of `/readyz`, and every line of it."""
        answer = self.get("/readyz", verbose="")
        return answer.status_code, answer.text

    def intake(self):
        return self.json("/api/v1/intake")

    def wait_size(self, size, deadline=60.0):
        return until(lambda: self.size() >= size, f"{size} entries in the ledger", deadline, self.alive)

    def wait_total(self, total, deadline=60.0):
        """Until that many messages are accounted for, duplicates counted, and the views show them."""

        def there():
            intake = self.intake()
            assert intake["total"] <= total, f"more messages than were sent: {intake}"
            return intake["total"] == total and intake

        try:
            return until(there, f"{total} messages accounted for", deadline, self.alive)
        except AssertionError as error:
            raise AssertionError(f"{error}; intake: {self.intake()}\n{self.tail(15)}") from None

    def wait_visible(self, deadline=30.0):
        """Until every view has folded what is in the ledger now."""
        index = self.head()["size"]

        def there():
            views = self.json("/api/v1/freshness")["views"]
            return all(view["lagEntries"] == 0 for view in views)

        return until(there, f"views up to entry {index}", deadline, self.alive)

    def entries(self, **query):
        """All entries, page by page."""
        found, token = [], None
        while True:
            page = self.json("/api/v1/entries", pageToken=token, **query)
            found += page["entries"]
            token = page.get("nextPageToken")
            if not token:
                return found


class Demo:
    """The demo, from its first line to the last one that it prints before it waits."""

    def __init__(self, directory):
        self.directory = directory
        self.text = ""
        self.url = None
        self.seconds_to_url = None
        begin = time.monotonic()
        with (directory / "stderr").open("wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "demo", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
                cwd=directory, env=environment(TMPDIR=str(directory)),
            )
        try:
            self._read(begin)
        except BaseException:
            self.kill()
            raise

    def _read(self, begin):
        lines = queue.Queue()
        threading.Thread(target=_pump, args=(self.process.stdout, lines, self.directory / "stdout"), daemon=True).start()
        while "Ctrl-C" not in self.text:
            line = lines.get(timeout=60)
            assert line is not None, f"demo ended: {(self.directory / 'stderr').read_text()[-3000:]}"
            if self.url is None and (found := re.search(r"http://[^\s)]+", line)):
                self.url, self.seconds_to_url = found.group(), time.monotonic() - begin
            self.text += line

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _pump(stream, lines, log):
    """Reads stdout to its end, so that the server never blocks on it, and keeps it with the log."""
    with log.open("ab") as kept:
        for raw in stream:
            kept.write(raw)
            kept.flush()
            lines.put(raw.decode(errors="replace"))
    lines.put(None)


def run(*arguments, url=None, stdin=None, timeout=60, cwd=None, **env):
    """Runs the command line tool; returns the finished process with bytes in stdout and stderr."""
    more = {"PEDIGRAPH_URL": url} if url else {}
    return subprocess.run(
        [BINARY, *map(str, arguments)],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(**more, **env),
        check=False,
    )


def copy_data(data, to):
    """A stopped server's data directory, elsewhere."""
    shutil.copytree(data, to)
    return Path(to)


def flip(path):
    """One bit in the middle of a file is another."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def tear(segment):
    """Rubbish a little behind the last commit, which may end in zeros itself: pages of a write reach the disk in any order."""
    data = bytearray(segment.read_bytes())
    tail = (len(data.rstrip(b"\0")) + 511) // 8 * 8
    data[tail : tail + 100] = random.Random(5).randbytes(100)
    segment.write_bytes(bytes(data))


# Events

DIGEST = "sha256:" + "%064x"


def digest(number):
    return DIGEST % number


def cloudevent(type_, data, *, id_=None, source="tests", time_=None, subject=None, **extensions):
    """A structured CloudEvent as a dict."""
    event = {"specversion": "1.0", "id": id_ or str(uuid.uuid4()), "source": source, "type": type_}
    if time_:
        event["time"] = time_
    if subject:
        event["subject"] = subject
    return {**event, **extensions, "datacontenttype": "application/json", "data": data}


def raw(value):
    return json.dumps(value).encode()


def deployed(service, ref, environment_="staging", **more):
    fields = {"service": service, "environment": environment_, "artifactRef": ref}
    known = {name: more.pop(name) for name in list(more) if name in ("artifactDigest", "actor", "reason", "rollback", "strategy", "weight", "configDigest", "run")}
    return cloudevent("io.pedigraph.service-deployed.v1", {**fields, **known}, **more)


def published(ref, artifact_digest, **more):
    data = {"artifactDigest": artifact_digest, "artifactRef": ref, "kind": "container_image"}
    return cloudevent("io.pedigraph.artifact-published.v1", data, **more)


def rolled_out(node, name):
    """A line of two versions, of which the older one contains a package; of five places in prod three run the newer."""
    image, fixed = (f"sha256:{hashlib.sha256(f'{name} {n}'.encode()).hexdigest()}" for n in (0, 1))
    for version, of, library, document in (("1.4.0", image, "lib", 1), ("1.4.1", fixed, "other", 2)):
        at = f"2026-03-0{document}T00:00:00Z"
        node.accept(raw(published(f"r.example/{name}:{version}", of, time_=at)))
        components = [{"type": "library", "name": library, "version": "1.0.0", "purl": f"pkg:npm/{name}-{library}@1.0.0"}]
        sbom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
        node.accept(raw(sbom), "application/json", subject=of)
    said = {"vulnerability": f"CVE-2026-{name}", "product": f"pkg:npm/{name}-lib@1.0.0", "status": "affected"}
    vex = {"issuer": "vendor", "documentId": name, "documentVersion": "1", "statements": [said]}
    node.accept(raw(cloudevent("io.pedigraph.vex-issued.v1", vex)))
    places = [("prod", n, fixed if n < 3 else image) for n in range(5)] + [("staging", 0, fixed)]
    for environment_, n, of in places:
        ref = f"r.example/{name}:1.4.{int(of == fixed)}"
        event = deployed(f"{name}-{n}", ref, f"{name}-{environment_}", artifactDigest=of, time_="2026-03-05T00:00:00Z")
        node.accept(raw(event), wait="visible")
    return f"CVE-2026-{name}", f"pkg:npm/{name}-lib"


def padded(number, size=2300):
    """A CDEvent of about `size` bytes, as pipelines send them."""
    event = {
        "context": {
            "specversion": "0.5.1",
            "id": f"load-{number}",
            "source": "/load",
            "type": "dev.cdevents.artifact.packaged.0.3.0",
            "timestamp": "2026-08-14T12:00:00Z",
        },
        "subject": {
            "id": f"pkg:oci/load@{'sha256%3A'}{number:064x}?repository_url=registry.example/load",
            "type": "artifact",
            "content": {"change": {"id": f"change-{number}", "source": "git.example/load"}},
        },
        "customData": {"padding": ""},
    }
    event["customData"]["padding"] = "x" * max(0, size - len(json.dumps(event)))
    return json.dumps(event).encode()


# Problems (RFC 9457)


def escaped(query):
    """A query string with %20 for spaces: in the API's a + is a plus sign (SPEC §8)."""
    return urlencode({name: value for name, value in query.items() if value is not None}, quote_via=quote)


def problem(answer, status, code=None):
    """The answer is a problem document of that status (and code); returns it."""
    assert answer.status_code == status, f"wanted {status}: {answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"].split(";")[0] == "application/problem+json", answer.headers
    body = answer.json()
    assert body.get("code"), body
    assert body.get("instance"), body
    assert body.get("status", status) == status, body
    if code is not None:
        codes = (code,) if isinstance(code, str) else code
        assert body["code"] in codes, body
    return body


# Identity (SPEC 2.3), computed independently


def event_id(source, id_, received, tenant="default"):
    hasher = hashlib.sha256()
    for part in (tenant.encode(), source.encode(), id_.encode(), hashlib.sha256(received).digest()):
        hasher.update(len(part).to_bytes(8, "big") + part)
    return str(uuid.UUID(bytes=hasher.digest()[:16]))


def document_id(received, subject=None):
    """Source and id of a document that comes without an envelope."""
    return "document", f"sha256:{hashlib.sha256(received).hexdigest()}" + (f"@{subject}" if subject else "")
