"""What taking in SBOMs costs: real ones, one of 51 MB, and the same one for another artifact.

    cargo build --release && python3 benches/sboms/measure.py [--corpora DIR] [--only real|large|again] [--rounds N]

Each round starts `pedigraph up` anew on an empty directory, sends documents one by one over one connection, waits until
all views show them, and asks for each whether what it lists is there. CPU seconds are those of the server from the
first request until all views are done, its answers to these requests included. The real documents are the CycloneDX and
SPDX ones of the corpora. All OSV advisories of the corpora are there before them, so that what an SBOM lists is held
against these too.
"""

import argparse
import bz2
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from urllib.parse import quote

ROOT = pathlib.Path(__file__).parents[2]
MUST_MB_PER_CPU_SECOND, LARGE_BYTES = 60, 51_000_000
MUST_SECONDS, MUST_MIB, MUST_BYTES_AGAIN = 1.5, 150, 2_000
# A larger body is sent as a document, which is streamed.
EVENT_BYTES_MAX = 16 << 20
# Below this a document is a small one.
SMALL_BYTES = 200_000
# Components of each document that are asked for.
ASKED = 5
STORES = ("sled", "fjall")


class Up:
    """The server as a process of its own, on a directory of its own."""

    def __init__(self, directory, store="sled"):
        self.data, self.store = directory / "data", store
        self.start()

    def start(self):
        environment = {**os.environ, "RUST_LOG": "warn", "PEDIGRAPH_VIEW_ROOT_INTERVAL_MS": "0"}
        program = os.environ.get("PEDIGRAPH_BIN", ROOT / "target/release/pedigraph")
        arguments = [program, "up", "--listen", "127.0.0.1:0", "--data", self.data, "--views-store", self.store]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
        self.address = re.search(r"http://(\S+)", self.process.stdout.readline())[1]
        self.connection = http.client.HTTPConnection(self.address, timeout=600)
        while self.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.05)

    def ask(self, method, path, body=None, kind="application/json"):
        self.connection.request(method, path, body, {"content-type": kind, "host": self.address})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def get(self, path):
        status, text = self.ask("GET", path)
        assert status == 200, (path, status, text[:300])
        return json.loads(text)

    def send(self, body, subject, wait="durable"):
        path = "events" if len(body) <= EVENT_BYTES_MAX else "documents"
        status, text = self.ask("POST", f"/api/v1/{path}?subject={subject}&wait={wait}", body)
        assert status in (200, 201), (status, text[:300])
        return status == 201

    def settle(self):
        """Until all views are done, those that nothing waits for too."""
        while True:
            freshness = self.get("/api/v1/freshness")
            if min(view["nextIndex"] for view in freshness["views"]) == freshness["head"]["size"]:
                return freshness["head"]["size"]
            time.sleep(0.01)

    def used(self):
        """CPU seconds of the process."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, name):
        """MiB: `VmRSS` now, `VmHWM` at its highest since it was forgotten."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+) kB", status, re.M)[1]) / 1024

    def forget_highest(self):
        """Whether this machine lets the highest be forgotten."""
        with contextlib.suppress(OSError):
            pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
            return True
        return False

    def stop(self):
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def started(store="sled"):
    directory = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "target"))
    up = Up(directory, store)
    try:
        yield up
    finally:
        up.stop()
        shutil.rmtree(directory)


def digest(number):
    return f"sha256:{number:064x}"


# Documents


def documents(corpora):
    """(name, bytes) of each SBOM, no bytes twice."""
    files = sorted(file for folder in ("cyclonedx", "trustify") for file in (corpora / folder).rglob("*.json*"))
    found = {}
    for file in files:
        body = bz2.decompress(file.read_bytes()) if file.suffix == ".bz2" else file.read_bytes()
        with contextlib.suppress(ValueError):
            if listed(json.loads(body)):
                found.setdefault(body, str(file.relative_to(corpora)))
    assert found, f"no SBOMs in {corpora}"
    return [(name, body) for body, name in found.items()]


def every(components):
    """They, and those in them."""
    for component in components:
        yield component
        yield from every(component.get("components", ()))


def listed(document):
    """Purls of what a document lists, as it writes them."""
    if document.get("bomFormat") == "CycloneDX":
        return {component["purl"] for component in every(document.get("components", ())) if component.get("purl")}
    described = set(document.get("documentDescribes", ()))
    packages = [package for package in document.get("packages", ()) if package.get("SPDXID") not in described]
    refs = [ref for package in packages for ref in package.get("externalRefs", ()) if ref.get("referenceType") == "purl"]
    return {ref["referenceLocator"] for ref in refs}


def made(corpora, size, seed):
    """A CycloneDX document of so many bytes, of components of real ones: each has a version of its own."""
    chance, real = random.Random(seed), []
    for _, body in documents(corpora):
        document = json.loads(body)
        if document.get("bomFormat") == "CycloneDX":
            real += [component for component in document["components"] if "purl" in component and "@" in component["purl"]]
    head = {"bomFormat": "CycloneDX", "specVersion": "1.4", "version": 1, "serialNumber": f"urn:uuid:00000000-0000-4000-8000-{seed:012x}"}
    rows, bytes_, refs = [], 0, ["root"]
    while bytes_ < size:
        number, component = len(rows), {**chance.choice(real)}
        path, _, rest = component["purl"].partition("@")
        version = f"{number}.{re.split('[?#]', rest)[0]}"
        component |= {"version": version, "purl": f"{path}@{version}", "bom-ref": f"{path}@{version}"}
        component.pop("components", None)
        edge = {"ref": component["bom-ref"], "dependsOn": []}
        rows.append((component, {"ref": chance.choice(refs[-1000:]), "of": edge["ref"]}))
        refs.append(edge["ref"])
        bytes_ += len(json.dumps(component)) + 2 * len(edge["ref"]) + 40
    edges = {ref: [] for ref in refs}
    for _, edge in rows:
        edges[edge["ref"]].append(edge["of"])
    document = {
        **head,
        "metadata": {"component": {"type": "application", "name": "large", "bom-ref": "root"}},
        "components": [component for component, _ in rows],
        "dependencies": [{"ref": ref, "dependsOn": of} for ref, of in edges.items()],
    }
    return json.dumps(document).encode()


def advisories(up, corpora):
    lines = [json.dumps(json.loads(file.read_bytes())) for file in sorted((corpora / "osv").rglob("*.json"))]
    for start in range(0, len(lines), 100):
        status, text = up.ask("POST", "/api/v1/events", "\n".join(lines[start : start + 100]).encode(), "application/x-ndjson")
        assert status in (200, 201, 207), (status, text[:300])
    up.settle()
    return len(lines)


def is_there(up, subject, purls, chance):
    """Its SBOM is current, and some of what it lists leads to it."""
    sboms = up.get(f"/api/v1/artifacts/{subject}")["sboms"]
    assert len(sboms) == 1, (subject, sboms)
    for purl in chance.sample(sorted(purls), min(ASKED, len(purls))):
        token, rows = "", []
        while token is not None and not any(row["digest"] == subject for row in rows):
            page = up.get(f"/api/v1/components/impact?purl={quote(purl, safe='')}&pageSize=1000{token}")
            rows, token = page["notDeployed"], page.get("nextPageToken") and f"&pageToken={page['nextPageToken']}"
        assert any(row["digest"] == subject for row in rows), f"{purl} does not lead to {subject}"


# Parts


def sent(up, bodies):
    """CPU seconds and seconds from the first request until all views are done."""
    used, begun = up.used(), time.monotonic()
    for number, (_, body) in enumerate(bodies):
        assert up.send(body, digest(1 + number)), "no duplicate"
    up.settle()
    return up.used() - used, time.monotonic() - begun


def real(options):
    """MB of real documents for each CPU second: the small ones, the large ones, all of them."""
    found = documents(options.corpora)
    small = [each for each in found if len(each[1]) < SMALL_BYTES]
    large = [each for each in found if len(each[1]) >= SMALL_BYTES]
    for name, bodies in (("small", small), ("large", large), ("all", found)):
        speeds, seconds, chance = [], [], random.Random(options.seed)
        for _ in range(options.rounds):
            with started() as up:
                known = advisories(up, options.corpora)
                used, took = sent(up, bodies)
                for number, (_, body) in enumerate(bodies):
                    is_there(up, digest(1 + number), listed(json.loads(body)), chance)
            size = sum(len(body) for _, body in bodies) / 1e6
            speeds.append(size / used)
            seconds.append(took)
        print(f"figure   {len(bodies)} {name} SBOMs, {size:.1f} MB, {known} advisories: {statistics.median(speeds):.0f} MB a CPU second "
              f"({min(speeds):.0f} to {max(speeds):.0f}), {statistics.median(seconds):.2f} s; must {MUST_MB_PER_CPU_SECOND}", flush=True)


def large(options):
    """One of 51 MB, from its first byte sent until it is visible."""
    body, chance = made(options.corpora, LARGE_BYTES, options.seed), random.Random(options.seed)
    purls, found = listed(json.loads(body)), []
    for _ in range(options.rounds):
        with started() as up:
            known = advisories(up, options.corpora)
            idle, is_exact = up.memory("VmRSS"), up.forget_highest()
            used, begun = up.used(), time.monotonic()
            assert up.send(body, digest(1), wait="visible")
            took = time.monotonic() - begun
            more = up.memory("VmHWM") - idle
            up.settle()
            found.append((took, more, up.used() - used, time.monotonic() - begun, idle))
            is_there(up, digest(1), purls, chance)
    took, more, used, all_of_it, idle = map(statistics.median, zip(*found, strict=True))
    note = "" if is_exact else " (since the start: the highest cannot be forgotten here)"
    print(f"figure   an SBOM of {len(body) / 1e6:.1f} MB, {len(purls)} components, {known} advisories: visible after {took:.2f} s "
          f"({', '.join(f'{each[0]:.2f}' for each in found)}), must {MUST_SECONDS}; at most {more:.0f} MiB above the {idle:.0f} at rest{note}, "
          f"must {MUST_MIB}", flush=True)
    print(f"figure   the same until all views are done: {all_of_it:.2f} s, {used:.2f} CPU s, {len(body) / 1e6 / used:.0f} MB a CPU second", flush=True)


def on_disk(data):
    """Bytes by folder, without what was written ahead: zeros at ends of files. A journal of fjall is told apart: it has
    what its tables do not have yet, and is as large as the store lets it be."""
    sizes = {}
    for file in filter(pathlib.Path.is_file, data.rglob("*")):
        folder = file.relative_to(data).parts[0]
        name = f"journal of {folder}" if file.suffix == ".jnl" else folder
        size = min(file.stat().st_blocks * 512, len(file.read_bytes().rstrip(b"\0")))
        sizes[name] = sizes.get(name, 0) + size
    return sizes


def again(options):
    """Bytes on disk of the same SBOM for another artifact."""
    found = sorted(documents(options.corpora), key=lambda each: len(each[1]))
    name, body = found[len(found) // 2]
    for store in STORES:
        with started(store) as up:
            up.send(body, digest(1))
            before = at_rest(up)
            for number in range(options.again):
                assert up.send(body, digest(2 + number)), "no duplicate"
            up.settle()
            is_there(up, digest(1 + options.again), listed(json.loads(body)), random.Random(options.seed))
            after = at_rest(up)
        parts = {part: (after[part] - before.get(part, 0)) / options.again for part in after}
        told = ", ".join(f"{part} {bytes_:.0f}" for part, bytes_ in sorted(parts.items()) if round(bytes_))
        print(f"figure   {name} ({len(body)} bytes) for another artifact, {store}: {sum(parts.values()):.0f} bytes of disk ({told}), "
              f"{options.again} times; must {MUST_BYTES_AGAIN}", flush=True)


def at_rest(up):
    """What is on disk when the server has written all and stopped; it is started again."""
    up.settle()
    up.stop()
    sizes = on_disk(up.data)
    up.start()
    return sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"real": real, "large": large, "again": again}
    parser.add_argument("--corpora", type=pathlib.Path, default=os.environ.get("PEDIGRAPH_CORPORA", ROOT.parent / "shared/corpora"))
    parser.add_argument("--only", choices=parts, help="one part of it")
    parser.add_argument("--rounds", type=int, default=5, help="servers that are started anew; the median is printed")
    parser.add_argument("--again", type=int, default=20_000, help="artifacts that one document is sent for")
    parser.add_argument("--seed", type=int, default=16)
    options = parser.parse_args()
    for name, part in parts.items():
        if options.only in (None, name):
            part(options)


if __name__ == "__main__":
    main()
