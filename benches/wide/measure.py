"""One statement on a package that every artifact contains: until all verdicts and deltas are right, and what facts
that come in meanwhile feel of it.

    cargo build --release && python3 benches/wide/measure.py [--artifacts 100000] [--sets 10000] [--data DIR]

Starts `pedigraph up`, publishes the artifacts in lines of 100 versions and sends an SBOM for each. Ten artifacts share
a set of components; each set has 40 packages of its line and one that all have. Then one OpenVEX document with one
statement on that package comes in. Meanwhile, and for as long before it, a deployment is sent every 20 ms and waited
for until it is visible.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
BATCH = 400
LINE = 100
MUST_SECONDS = 30


class Up:
    """The server as a process of its own."""

    def __init__(self, data):
        environment = {**os.environ, "RUST_LOG": "warn", "PEDIGRAPH_VIEW_ROOT_INTERVAL_MS": "0"}
        program = os.environ.get("PEDIGRAPH_BIN", ROOT / "target/release/pedigraph")
        arguments = [program, "up", "--listen", "127.0.0.1:0", "--data", data]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
        self.address = re.search(r"http://(\S+)", self.process.stdout.readline())[1]
        self.connection = http.client.HTTPConnection(self.address, timeout=600)
        while self.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.05)

    def ask(self, method, path, body=None, kind="application/json", connection=None):
        connection = connection or self.connection
        connection.request(method, path, body, {"content-type": kind, "host": self.address})
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, text

    def get(self, path):
        status, text = self.ask("GET", path)
        assert status == 200, (path, status, text[:300])
        return json.loads(text)

    def send(self, lines):
        status, text = self.ask("POST", "/api/v1/events", "\n".join(lines).encode(), "application/x-ndjson")
        assert status in (200, 201), (status, text[:300])

    def behind(self):
        """Entries that the slowest view does not show yet."""
        freshness = self.get("/api/v1/freshness")
        return freshness["head"]["size"] - min(view["nextIndex"] for view in freshness["views"])

    def settle(self):
        while self.behind():
            time.sleep(0.02)

    def used(self):
        """CPU seconds of the process."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def stamp(second):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_704_067_200 + second))


def event(identity, second, name, data):
    return json.dumps({
        "specversion": "1.0", "id": identity, "source": "/wide", "type": f"io.pedigraph.{name}.v1", "time": stamp(second),
        "datacontenttype": "application/json", "data": data,
    })


def digest(number):
    return f"sha256:{number:064x}"


def artifact(number, artifacts, sets):
    line, version = number % (artifacts // LINE), number // (artifacts // LINE)
    reference = f"registry.example/team/app-{line}:1.{version}.0"
    published = {"artifactDigest": digest(number), "artifactRef": reference, "kind": "container_image"}
    set_of = number % sets
    components = [(f"pkg:npm/of-{set_of % 97}-{nth}", f"1.{set_of}.0") for nth in range(40)]
    components.append(("pkg:npm/everywhere", "4.17.21"))
    sbom = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": f"urn:uuid:00000000-0000-4000-8000-{number:012x}",
        "metadata": {"timestamp": stamp(number), "component": {
            "type": "container", "name": reference, "hashes": [{"alg": "SHA-256", "content": digest(number)[7:]}]}},
        "components": [{"type": "library", "name": purl.rpartition("/")[2], "version": version, "purl": f"{purl}@{version}"}
                       for purl, version in components],
    }
    return [event(f"published-{number}", number, "artifact-published", published), json.dumps(sbom)]


def deployed(up, until, times):
    """Deployments until told to stop, each waited for."""
    connection, number = http.client.HTTPConnection(up.address, timeout=600), 0
    while not until.is_set():
        number += 1
        data = {"environment": "prod", "service": f"s-{number % 50}", "artifactDigest": digest(number), "artifactRef": f"r.example/x:{number}"}
        line = event(f"{id(times)}-{number}", 10_000_000 + number, "service-deployed", data)
        begun = time.monotonic()
        status, text = up.ask("POST", "/api/v1/events?wait=visible", line, "application/cloudevents+json", connection)
        assert status in (200, 201, 202), text
        times.append((time.monotonic() - begun) * 1e3)
        until.wait(0.02)


def of(times, percent):
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


def meanwhile(up, what):
    """Runs it while deployments come in; what it came to, and their times."""
    until, times = threading.Event(), []
    thread = threading.Thread(target=deployed, args=(up, until, times))
    thread.start()
    try:
        found = what()
    finally:
        until.set()
        thread.join()
    return found, times


def state(up, identity, product, status):
    document = {
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": f"https://issuer.example/{identity}", "author": "issuer",
        "timestamp": stamp(20_000_000), "version": 1,
        "statements": [{"vulnerability": {"name": identity}, "products": [{"@id": product}], **status}],
    }
    # The server has closed the connection, which was idle for too long.
    up.connection.close()
    begun, used = time.monotonic(), up.used()
    up.send([json.dumps(document)])
    target = up.get("/api/v1/freshness")["head"]["size"]

    def derived():
        return min(view["nextIndex"] for view in up.get("/api/v1/freshness")["views"]) >= target

    while not derived():
        time.sleep(0.05)
    return time.monotonic() - begun, up.used() - used


def held(up, identity):
    """Verdicts by status."""
    counts, token = {}, ""
    while True:
        page = up.get(f"/api/v1/vulnerabilities/{identity}/verdicts?pageSize=1000{token}")
        for verdict in page["verdicts"]:
            counts[verdict["verdictStatus"]] = counts.get(verdict["verdictStatus"], 0) + 1
        if "nextPageToken" not in page:
            return counts
        token = f"&pageToken={page['nextPageToken']}"


def fill(up, options):
    begun, lines = time.monotonic(), []
    for number in range(options.artifacts):
        lines += artifact(number, options.artifacts, options.sets)
        if len(lines) >= BATCH:
            up.send(lines)
            lines = []
    up.send(lines or [event("last", 0, "service-deployed", {"environment": "x", "service": "y", "artifactRef": "r/x:1"})])
    up.settle()
    print(f"figure   filled and derived after {time.monotonic() - begun:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=int, default=100_000)
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--data", help="kept, and not filled again if it is there")
    options = parser.parse_args()
    temporary = tempfile.mkdtemp(dir=ROOT / "target")
    data = pathlib.Path(options.data or temporary) / "data"
    is_filled = data.exists()
    up = Up(data)
    try:
        if not is_filled:
            fill(up, options)
        up.settle()
        identity = f"CVE-2026-{int(time.time())}"
        _, before = meanwhile(up, lambda: time.sleep(10))
        (took, used), during = meanwhile(up, lambda: state(up, identity, "pkg:npm/everywhere", {"status": "affected", "action_statement": "update"}))
        counts = held(up, identity)
        assert counts == {"affected": options.artifacts}, counts
        print(f"figure   a statement on {options.artifacts} artifacts: {took:.1f} s, {used:.1f} CPU s until all verdicts and deltas "
              f"are right; must {MUST_SECONDS}")
        for name, times in (("before", before), ("meanwhile", during)):
            print(f"figure   a deployment {name}: visible after {of(times, 50):.1f} / {of(times, 99):.1f} ms, p50 / p99 of {len(times)}")
    finally:
        up.stop()
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
