"""The command line: data on stdout, talk on stderr, exit codes that scripts can rely on (SPEC 8)."""

import datetime
import gzip
import hashlib
import http.server
import json
import pathlib
import shutil
import subprocess
import threading

import pytest

from pedigraph import (
    BINARY,
    CLOUDEVENT,
    NDJSON,
    deployed,
    digest,
    free_port,
    problem,
    published,
    rolled_out,
    run,
)

CYCLONEDX = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "version": 1,
    "components": [{"type": "library", "name": "cli-lib", "version": "2.0.0", "purl": "pkg:npm/cli-lib@2.0.0"}],
}


@pytest.fixture(scope="module")
def told(shared):
    """A server that knows a little."""
    image = digest(0xC11)
    shared.accept(json.dumps(published("registry.example/cli:1", image)).encode(), CLOUDEVENT)
    shared.accept(json.dumps(CYCLONEDX).encode(), "application/json", subject=image)
    shared.accept(
        json.dumps(deployed("cli", "registry.example/cli:1", "cli-env", artifactDigest=image, time_="2026-01-01T00:00:00Z")).encode(),
        CLOUDEVENT,
        wait="visible",
    )
    return shared


def ok(*arguments, **more):
    done = run(*arguments, **more)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr.decode()}"
    return done.stdout


def fails(code, *arguments, **more):
    done = run(*arguments, **more)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    assert done.stderr.strip(), "it says why, on stderr"
    return done


def test_publish_a_file(told, tmp_path):
    file = tmp_path / "event.json"
    file.write_text(json.dumps(deployed("file", "r.example/app:1", "cli-files")))
    rows = json.loads(ok("publish", file, "--wait", "-o", "json", url=told.url))["results"]
    assert [row["status"] for row in rows] == ["accepted"]
    assert told.json(f"/api/v1/entries/{rows[0]['index']}")
    again = json.loads(ok("publish", file, "-o", "json", url=told.url))["results"]
    assert [(row["status"], row["index"]) for row in again] == [("duplicate", rows[0]["index"])]


def test_publish_a_directory(told, tmp_path):
    for n in range(4):
        (tmp_path / f"{n}.json").write_text(json.dumps(deployed(f"dir-{n}", "r.example/app:1", "cli-dir")))
    (tmp_path / "lines.ndjson").write_text("\n".join(json.dumps(deployed(f"line-{n}", "r.example/app:1", "cli-dir")) for n in range(3)))
    rows = json.loads(ok("publish", tmp_path, "--wait", "-o", "json", url=told.url))["results"]
    assert [row["status"] for row in rows] == ["accepted"] * 7
    assert len(told.json("/api/v1/environments/cli-dir")["services"]) == 7


def test_publish_many(told, tmp_path):
    """What a shell makes of *.json, and directories in directories; hidden ones and links to directories are left out."""
    names = ["a/x.json", "a/b/y.json", ".git/z.json", "w.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(deployed("cli-many", "registry.example/cli:1", "cli-many", id_=f"many {name}")))
    (tmp_path / "a/b/back").symlink_to(tmp_path / "a")
    rows = json.loads(ok("publish", tmp_path / "w.json", tmp_path / "a", "-o", "json", url=told.url))["results"]
    assert [row["file"].removeprefix(f"{tmp_path}/") for row in rows] == ["w.json", "a/b/y.json", "a/x.json"]
    assert {row["status"] for row in rows} == {"accepted"}
    (tmp_path / "empty").mkdir()
    assert b"no files in" in fails(3, "publish", tmp_path / "empty", url=told.url).stderr
    (tmp_path / "v.json").write_text(json.dumps(deployed("cli-many", "registry.example/cli:1", "cli-many", id_="many v")))
    assert b"cannot read" in fails(1, "publish", tmp_path / "v.json", tmp_path / "none.json", url=told.url).stderr
    (row,) = json.loads(ok("publish", tmp_path / "v.json", "-o", "json", url=told.url))["results"]
    assert row["status"] == "accepted", "nothing is sent before all is there"


def layout(path, ref):
    """An OCI image layout as BuildKit writes one, with an attestation; the digest of the image that `ref` names."""
    (path / "blobs/sha256").mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def put(kind, content, **more):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        of = hashlib.sha256(body).hexdigest()
        (path / "blobs/sha256" / of).write_bytes(body)
        return {"mediaType": f"application/vnd.{kind}", "digest": f"sha256:{of}", "size": len(body), **more}

    def manifest(config, layers, **more):
        return put("oci.image.manifest.v1+json", {"schemaVersion": 2, "config": config, "layers": layers}, **more)

    def config(os, diff_id):
        return put("oci.image.config.v1+json", {"os": os, "architecture": os, "rootfs": {"diff_ids": [diff_id]}})

    layer = put("oci.image.layer.v1.tar+gzip", gzip.compress(ref.encode(), mtime=0))
    image = manifest(config("linux", digest(0xC13)), [layer], platform={"os": "linux", "architecture": "amd64"})
    statement = {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "pkg:docker/layout@1?platform=linux%2Famd64", "digest": {"sha256": image["digest"][7:]}}],
        "predicate": {"builder": {"id": "https://ci.example/layout"}, "buildType": "https://mobyproject.org/buildkit@v1"},
    }
    provenance = put("in-toto+json", statement)
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}
    nowhere = {"os": "unknown", "architecture": "unknown"}
    beside = manifest(config("unknown", provenance["digest"]), [provenance], platform=nowhere, annotations=about)
    named = {"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref.split(":")[-1]}
    index = put("oci.image.index.v1+json", {"schemaVersion": 2, "manifests": [image, beside]}, annotations=named)
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}))
    return index["digest"], image["digest"]


def test_publish_a_layout(told, tmp_path):
    """What is in it is sent and not the file systems; it is found by its name. Files beside it are sent as any."""
    path, subject = tmp_path / "layout", digest(0xC14)
    index, image = layout(path, "registry.example/layout:1.0")
    (path / "manifest.json").write_text('[{"Config":"blobs/sha256/00","RepoTags":["registry.example/layout:1.0"],"Layers":[]}]')
    (path / "sbom.json").write_text(json.dumps({**CYCLONEDX, "serialNumber": "urn:uuid:00000000-0000-4000-8000-00000000c140"}))
    done = run("publish", tmp_path, "--subject", subject, "--wait", "-o", "json", url=told.url)
    assert done.returncode == 0, done.stderr.decode()
    rows = json.loads(done.stdout)["results"]
    assert [row["file"].removeprefix(f"{path}/")[:5] for row in rows] == ["index", *["blobs"] * 5, "sbom."]
    assert {row["status"] for row in rows} == {"accepted"}
    assert done.stderr.decode().strip() == f"{path}: not sent: 1 layer, since file systems are not read"
    found = told.json("/api/v1/resolve?q=registry.example/layout:1.0")["candidates"]
    assert [candidate["digest"] for candidate in found] == [index]
    built = told.entries(subject=image)
    assert {entry["format"] for entry in built} >= {"oci-manifest", "in-toto"}
    assert told.entries(subject=subject), "the file beside it is of the subject that was given"


def test_publish_a_damaged_layout(nodes, tmp_path):
    node, path = nodes(), tmp_path / "layout"
    _, image = layout(path, "registry.example/damaged:1.0")
    (path / "blobs/sha256" / image[7:]).write_text('{"schemaVersion":2')
    done = fails(1, "publish", path, "-o", "json", url=node.url)
    rows = {row["file"].split("/")[-1]: row for row in json.loads(done.stdout)["results"]}
    assert rows[image[7:]]["status"] == "unsent" and "damaged or cut off" in rows[image[7:]]["detail"]
    assert {row["status"] for row in rows.values()} == {"accepted", "unsent"}
    assert "1 of 5 missing or damaged, and not sent" in done.stderr.decode()
    (path / "index.json").unlink()
    assert b"without index.json" in fails(3, "publish", path, url=node.url).stderr


def test_publish_from_stdin(told):
    lines = "\n".join(json.dumps(deployed(f"stdin-{n}", "r.example/app:1", "cli-stdin")) for n in range(3)).encode()
    rows = json.loads(ok("publish", "-", "--wait", "-o", "json", stdin=lines, url=told.url))["results"]
    assert [row["status"] for row in rows] == ["accepted"] * 3
    one = json.dumps(deployed("stdin-one", "r.example/app:1", "cli-stdin")).encode()
    rows = json.loads(ok("publish", "-", "-o", "json", stdin=one, url=told.url))["results"]
    assert [row["status"] for row in rows] == ["accepted"]


def test_publish_with_a_subject(told, tmp_path):
    file = tmp_path / "sbom.json"
    file.write_text(json.dumps({**CYCLONEDX, "serialNumber": "urn:uuid:00000000-0000-4000-8000-000000000001"}))
    subject = digest(0xC12)
    ok("publish", file, "--subject", subject, "--wait", url=told.url)
    assert told.entries(subject=subject)


def test_publish_rejected(told, tmp_path):
    file = tmp_path / "bad.json"
    file.write_text('{"what": "is this", "from": "the command line"}')
    done = fails(1, "publish", file, "-o", "json", url=told.url)
    (row,) = json.loads(done.stdout)["results"]
    assert (row["status"], row["code"]) == ("rejected", "UNSUPPORTED_FORMAT")
    listed = json.loads(ok("rejects", "list", "-o", "json", url=told.url))["entries"]
    assert row["index"] in [entry["index"] for entry in listed]
    assert ok("rejects", "show", row["index"], url=told.url) == file.read_bytes()


def test_what_is_still_rejected_says_so(nodes):
    node = nodes()
    bad = [b'{"neither": "event"}', b'{"nor": "document"}', b'{"cut": ']
    indexes = [node.post(body, "application/json").json()["index"] for body in bad]
    codes = [node.json(f"/api/v1/entries/{index}")["code"] for index in indexes]
    one = fails(1, "rejects", "replay", indexes[2], "-o", "json", url=node.url)
    assert [row["status"] for row in json.loads(one.stdout)["results"]] == ["rejected"]
    assert f"1 of 1 still rejected: 1 {codes[2]}" in one.stderr.decode()
    everything = fails(1, "rejects", "replay", "-o", "json", url=node.url).stderr.decode()
    assert "3 of 3 still rejected: " in everything and all(code in everything for code in codes), everything
    ok("log", "erase", indexes[0], "--reason", "test", url=node.url)
    left = fails(1, "rejects", "replay", url=node.url).stderr.decode()
    assert "2 of 2 still rejected" in left and f"entry {indexes[0]} cannot be replayed" in left, left


@pytest.mark.parametrize(
    ("arguments", "path", "query"),
    [
        (["trace", "cli-env/cli"], "/api/v1/trace", {"ref": "cli-env/cli"}),
        (["env", "cli-env"], "/api/v1/environments/cli-env", {}),
        (["env", "cli-env", "--changes"], "/api/v1/environments/cli-env/changes", {}),
        (["env"], "/api/v1/environments", {}),
        (["lanes", "cli-env/cli"], "/api/v1/lineage/cli-env%2Fcli", {"maxDepth": 10, "direction": "both"}),
        (["impact", "pkg:npm/cli-lib"], "/api/v1/components/impact", {"purl": "pkg:npm/cli-lib"}),
        (["log", "entries", "--limit", "3"], "/api/v1/entries", {"from": 0, "limit": 3}),
    ],
)
def test_json_is_the_body_of_the_api(told, arguments, path, query):
    printed = json.loads(ok(*arguments, "-o", "json", url=told.url))
    asked = told.json(path, **query)
    for body in (printed, asked):
        body.pop("elapsedMs", None)
    assert printed == asked
    rows = ok(*arguments, "-o", "jsonl", url=told.url).decode().splitlines()
    assert all(isinstance(json.loads(row), dict) for row in rows)
    assert ok(*arguments, url=told.url).strip(), "a table for people"
    assert b"\x1b[" not in ok(*arguments, url=told.url), "no colours into a pipe"


def test_lanes(told):
    """A graph of text: the newest version first, the one asked for marked, patches of an older one in a lane beside."""
    versions = {"1.0.0": 1, "1.1.0": 2, "1.2.0": 3, "1.1.1": 4}
    images = {version: f"sha256:{0xCA00 + day:0<64x}" for version, day in versions.items()}
    for version, day in versions.items():
        event = published(f"registry.example/lanes:{version}", images[version], time_=f"2026-03-0{day}T00:00:00Z")
        told.accept(json.dumps(event).encode(), CLOUDEVENT)
    runs = deployed("lanes", "registry.example/lanes:1.1.0", "lanes-env", artifactDigest=images["1.1.0"], time_="2026-03-05T00:00:00Z")
    told.accept(json.dumps(runs).encode(), CLOUDEVENT, wait="visible")

    def drawn(*arguments):
        done = run("lanes", *arguments, url=told.url)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines(), done.stderr.decode()

    lines, said = drawn("lanes-env/lanes")
    assert said == ""
    words = [line.split("  #")[0] for line in lines]

    def name(version):
        return f"{images[version].removeprefix('sha256:')[:12]}  registry.example/lanes:{version}"

    assert words == [f"o  {name('1.1.1')}", f"│ o  {name('1.2.0')}", "├─╯", f"@  {name('1.1.0')}", f"o  {name('1.0.0')}"]
    assert lines[3].endswith("  #2  2026-03-02T00:00:00Z  unsigned  no SBOM  in lanes-env")
    lines, said = drawn(images["1.0.0"].removeprefix("sha256:")[:12], "--depth", "1")
    assert [line.split("  ")[2] for line in lines] == ["registry.example/lanes:1.1.0", "registry.example/lanes:1.0.0"]
    assert said.startswith("more: ") and "--depth N with more than 1 shows more" in said
    nodes = [json.loads(row) for row in ok("lanes", "registry.example/lanes:1.1.0", "-o", "jsonl", url=told.url).splitlines()]
    assert [node["parents"] for node in nodes] == [[images["1.1.0"]], [images["1.1.0"]], [images["1.0.0"]], []]
    assert [node.get("asked", False) for node in nodes] == [False, False, True, False]
    fails(3, "lanes", "lanes-env/lanes", "--at", "2026-03-04T00:00:00Z", url=told.url)
    fails(3, "lanes", "nobody/knows", url=told.url)


def test_env_in_the_past(told):
    assert run("env", "cli-env", "--at", "2025-12-31T00:00:00Z", url=told.url).returncode == 3, "nobody had named it yet"
    body = json.loads(ok("env", "cli-env", "--at", "2026-01-01T00:00:00Z", "-o", "json", url=told.url))
    assert [service["service"] for service in body["services"]] == ["cli"]


def test_relative_moments(told):
    """`--at 2h` means what `@{2h}` means; what is no moment is a fault of usage, before anything is asked."""
    now = datetime.datetime.now(datetime.timezone.utc)
    for service, days in (("older", 21), ("newer", 2)):
        at = (now - datetime.timedelta(days=days)).isoformat()
        told.accept(json.dumps(deployed(service, "registry.example/cli:1", "cli-ages", time_=at)).encode(), CLOUDEVENT, wait="visible")

    def running(*clocks):
        return [row["service"] for row in json.loads(ok("env", "cli-ages", *clocks, "-o", "json", url=told.url))["services"]]

    assert running("--at", "30s") == running("--at", "1d") == ["newer", "older"]
    assert running("--at", "72h") == running("--at", "2w") == ["older"]
    assert running("--as-of", "0s") == ["newer", "older"]
    fails(3, "env", "cli-ages", "--at", "5w", url=told.url)
    nowhere = f"http://127.0.0.1:{free_port()}"
    for clock, wrong in (("--at", "soon"), ("--at", "3"), ("--at", "2 fortnights"), ("--as-of", "4x"), ("--as-of", "-1h")):
        assert b"RFC 3339" in fails(2, "trace", "cli-env/cli", f"{clock}={wrong}", url=nowhere).stderr


def test_changes_go_on_up_to_the_limit(told):
    events = [
        json.dumps(deployed("long", f"registry.example/long:{n}", "cli-long", time_=f"2026-02-01T{n // 60:02}:{n % 60:02}:00Z"))
        for n in range(130)
    ]
    told.post("\n".join(events).encode(), NDJSON, wait="visible")

    def changes(*limit):
        done = run("env", "cli-long", "--changes", *limit, "-o", "json", url=told.url)
        assert done.returncode == 0, done.stderr
        return [row["to"].rsplit(":")[-1] for row in json.loads(done.stdout)["changes"]], done.stderr.decode()

    newest_first = [str(n) for n in reversed(range(130))]
    for limit, rows in ((["--limit", "7"], 7), ([], 100), (["--limit", "129"], 129)):
        shown, said = changes(*limit)
        assert shown == newest_first[:rows], limit
        assert said.startswith("more: ") and "--all" in said, limit
    for limit in (["--limit", "130"], ["--limit", "0"], ["--all"]):
        assert changes(*limit) == (newest_first, ""), limit
    fails(2, "env", "cli-long", "--changes", "--all", "--limit", "3", url=told.url)
    shown = run("log", "entries", "--limit", "2", url=told.url)
    assert len(shown.stdout.splitlines()) == 3 and b"more: " in shown.stderr


def test_impact_is_not_cut_in_silence(told):
    image = digest(0xC17)
    sbom = {**CYCLONEDX, "components": [{"type": "library", "name": "wide", "version": "1.0.0", "purl": "pkg:npm/cli-wide@1.0.0"}]}
    told.accept(json.dumps(sbom).encode(), "application/json", subject=image)
    events = [json.dumps(deployed(f"wide-{n}", "registry.example/wide:1", "cli-wide", artifactDigest=image)) for n in range(113)]
    told.post("\n".join(events).encode(), NDJSON, wait="visible")
    cut = run("impact", "pkg:npm/cli-wide", "-o", "json", url=told.url)
    assert cut.returncode == 0 and b"more: " in cut.stderr
    body = json.loads(cut.stdout)
    assert len(body["deployed"]) == 100 and body["counts"]["deployed"] == 113
    everything = run("impact", "pkg:npm/cli-wide", "--all", "-o", "json", url=told.url)
    assert len({row["service"] for row in json.loads(everything.stdout)["deployed"]}) == 113 and not everything.stderr


def test_impact_tells_how_far_a_fix_is_rolled_out(told):
    vulnerability, package = rolled_out(told, "77001")
    for arguments in ([vulnerability], [package, "--progress"]):
        lines = ok("impact", *arguments, "--env", "77001-prod", url=told.url).decode().splitlines()
        rows = [line for line in lines if line.startswith("deployed")]
        assert len(rows) == 2 and all("r.example/77001:1.4.1" in row and "3 of 5 in 77001-prod" in row for row in rows), lines
        assert "ROLLED OUT" in lines[0]
        body = json.loads(ok("impact", *arguments, "-o", "json", url=told.url))
        wanted = {"lanes": 6, "fixed": 4, "inEnvironment": {"lanes": 5, "fixed": 3}}
        assert [row["fixProgress"] for row in body["deployed"]] == [wanted] * 2
        first = ok("impact", *arguments, "-o", "jsonl", url=told.url).splitlines()[0]
        assert "rollout" not in json.loads(first), "data has what the API says"
    assert b"ROLLED OUT" not in ok("impact", package, url=told.url)


def freeze(environment, time_, frozen, reason="", service=""):
    data = {"environment": environment, "service": service, "frozen": frozen, "reason": reason}
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"freeze {environment} {service} {time_}",
            "source": "cli/freezes",
            "type": "io.pedigraph.freeze-changed.v1",
            "time": time_,
            "datacontenttype": "application/json",
            "data": data,
        }
    ).encode()


def test_env_shows_what_is_frozen(told):
    for service in ("till", "shelf"):
        told.accept(json.dumps(deployed(service, "registry.example/cli:1", "cli-ice", time_="2026-03-01T08:00:00Z")).encode(), CLOUDEVENT)
    index = told.accept(freeze("cli-ice", "2026-03-02T09:30:00Z", True, "stocktaking", "till"), CLOUDEVENT, wait="visible")["index"]
    done = run("env", "cli-ice", url=told.url)
    rows = {line.split()[0]: "frozen" in line.split() for line in done.stdout.decode().splitlines()}
    assert rows == {"SERVICE": False, "till": True, "shelf": False} and b"FROZEN" in done.stdout
    assert done.stderr.decode() == f"cli-ice/till is frozen since 2026-03-02T09:30:00Z [entry {index}]: stocktaking\n"
    told.accept(freeze("cli-ice", "2026-03-03T09:30:00Z", False, service="till"), CLOUDEVENT)
    told.accept(freeze("cli-ice", "2026-03-04T10:00:00Z", True, "holidays"), CLOUDEVENT, wait="visible")
    done = run("env", "cli-ice", url=told.url)
    assert done.stdout.decode().count("frozen") == 2
    assert "cli-ice is frozen since 2026-03-04T10:00:00Z" in done.stderr.decode() and b"holidays" in done.stderr
    assert b"FROZEN" not in run("env", "cli-ice", "--at", "2026-03-03T12:00:00Z", url=told.url).stdout


def test_data_directory_by_position_and_as_option(nodes):
    node = nodes()
    node.accept(json.dumps(deployed("twice", "registry.example/cli:1", "cli-twice")).encode())
    node.stop()
    for command in (["verify"], ["rebuild", "--check"], ["rebuild"], ["log", "stats"]):
        assert ok(*command, node.data).split()[0] == ok(*command, "--data", node.data).split()[0], command
        fails(2, *command, node.data, "--data", node.data)
    assert ok("rebuild", "--check", PEDIGRAPH_DATA=str(node.data)) == ok("rebuild", "--check", node.data)


SITUATIONS = {
    "unknown reference": (3, ["trace", "registry.example/never:1"], "REFERENCE_NOT_FOUND", "never:1"),
    "unknown service": (3, ["trace", "cli-env/nobody"], "REFERENCE_NOT_FOUND", "nobody"),
    "unknown environment": (3, ["env", "cli-nowhere"], "ENVIRONMENT_NOT_FOUND", "cli-nowhere"),
    "unknown entry": (3, ["log", "proof", "99999999"], "", "99999999"),
    "ambiguous": (2, ["trace", "cli-two"], "AMBIGUOUS_REFERENCE", "service cli-two/left"),
    "wrong value": (2, ["trace", "cli-env/cli@{soon}"], "INVALID_PARAMETER", "soon"),
    "wrong versions": (2, ["impact", "pkg:npm/cli-lib", "--versions", "<3"], "INVALID_PARAMETER", "versions"),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_exit_codes_over_situations(told, situation):
    for service in ("left", "right"):
        told.post(json.dumps(deployed(service, "registry.example/cli:1", "cli-two")).encode(), CLOUDEVENT, wait="visible")
    code, arguments, *says = SITUATIONS[situation]
    done = fails(code, *arguments, url=told.url)
    assert not done.stdout and all(text in done.stderr.decode() for text in says), done.stderr.decode()


ANSWERS = {
    "behind": (6, 503, {"code": "PROJECTION_BEHIND", "detail": "entry 7 is not folded yet"}, {}),
    "starting": (6, 503, {"code": "NOT_READY", "detail": "the views are being opened"}, {}),
    "no token": (4, 401, {"code": "UNAUTHENTICATED", "detail": "a token is needed"}, {}),
    "no scope": (4, 403, {"code": "SCOPE_MISSING", "detail": "lineage:read is needed"}, {}),
    "not found": (3, 404, {"code": "REFERENCE_NOT_FOUND", "detail": "nothing names it"}, {}),
    "overloaded": (1, 503, {"code": "OVERLOADED", "detail": "try again"}, {}),
    "not ours": (1, 500, "<h1>a proxy</h1>", {}),
    "old state": (6, 200, {"ref": "a", "hops": [], "complete": False, "elapsedMs": 1}, {"pedigraph-rebuilding": "true"}),
}


@pytest.mark.parametrize("situation", ANSWERS)
def test_exit_codes_over_answers(situation):
    """Situations that a server is rarely in: what the command line makes of the answer."""
    code, status, body, headers = ANSWERS[situation]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        done = fails(code, "trace", "a", url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    said = done.stderr.decode()
    assert (bool(done.stdout), "Traceback" in said) == (status == 200, False)
    if isinstance(body, dict) and "code" in body:
        assert body["code"] in said and body["detail"] in said, said


def test_exit_codes(told, tmp_path):
    fails(2, "trace", url=told.url)
    fails(2, "no-such-command")
    fails(2, "impact", "not-a-purl", url=told.url)
    fails(3, "trace", digest(0xFFFFFF), url=told.url)
    fails(3, "env", "no-such-environment", url=told.url)
    fails(3, "log", "proof", "99999999", url=told.url)
    fails(3, "verify", tmp_path / "nothing-here")
    fails(7, "env", "cli-env", url=f"http://127.0.0.1:{free_port()}")
    fails(2, "up", "--listen", "nonsense", "--data", tmp_path / "d")
    done = fails(1, "publish", tmp_path / "missing-file.json", url=told.url)
    assert not done.stdout


def test_ledger_commands(told):
    assert ok("log", "vkey", url=told.url).decode().strip() == told.get("/ledger/default/vkey").text.strip()
    assert ok("log", "vkey", "--data", told.data).strip() == ok("log", "vkey", url=told.url).strip()
    assert ok("log", "checkpoint", url=told.url).decode().splitlines()[0] == ok("log", "vkey", url=told.url).decode().split("+")[0]
    verified = json.loads(ok("verify", told.data, "-o", "json"))
    assert verified["verified"] is True and verified["entries"] > 0


def test_stream_of_the_shell(told):
    """Closing the pipe early is not an error worth a backtrace."""
    done = run("log", "entries", "--limit", "1000", url=told.url)
    assert done.returncode == 0
    for shell in ("bash", "zsh", "fish"):
        assert b"pedigraph" in ok("completions", shell)
    assert ok("version").startswith(b"pedigraph ")
    assert b"publish" in ok("--help")


# Processes


def test_second_process_on_the_same_data_is_refused(nodes):
    first = nodes()
    done = run("up", "--data", first.data, "--listen", "127.0.0.1:0", timeout=30)
    assert done.returncode not in (0, -6, 101), done.stderr.decode()
    text = done.stderr.decode()
    assert any(word in text.lower() for word in ("lock", "in use", "another process", "already")), text
    assert "panicked" not in text
    first.alive()
    first.accept(json.dumps(deployed("still", "r.example/app:1")).encode())


def test_only_loopback_without_credentials(tmp_path):
    done = run("up", "--data", tmp_path / "data", "--listen", "0.0.0.0:0", timeout=30)
    assert done.returncode != 0
    text = done.stderr.decode().lower()
    assert "loopback" in text or "credential" in text or "127.0.0.1" in text, text
    assert b"listening on" not in done.stdout


def test_stop_is_clean_and_durable(nodes):
    node = nodes()
    receipt = node.accept(json.dumps(deployed("stop", "r.example/app:1")).encode())
    assert node.stop() == 0
    node.start()
    entry = node.json(f"/api/v1/entries/{receipt['index']}")
    assert entry.get("entry", entry)["leafHash"] == receipt["leafHash"]


def test_write_node_and_read_node(nodes):
    """`process` writes, `serve` beside it follows the same ledger and answers."""
    writer = nodes("split", role="process")
    receipts = [writer.accept(json.dumps(deployed(f"split-{n}", "r.example/app:1", "split")).encode()) for n in range(5)]
    reader = nodes("split", role="serve")
    answer = reader.get("/api/v1/environments/split", minIndex=receipts[-1]["index"])
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["services"]) == 5
    more = writer.accept(json.dumps(deployed("split-5", "r.example/app:1", "split")).encode())
    answer = reader.get("/api/v1/environments/split", minIndex=more["index"])
    assert len(answer.json()["services"]) == 6
    refused = reader.post(b"{}")
    assert refused.status_code in (403, 404, 405, 501, 503), "a read node takes nothing in"


def test_drop_directory(nodes, tmp_path):
    """Files moved into the watched directory are taken in, each once."""
    drop = tmp_path / "drop"
    drop.mkdir()
    config = tmp_path / "pedigraph.toml"
    config.write_text(f'drop-directory = "{drop}"\n')
    node = nodes(options=["--config", str(config)])
    for n in range(3):
        staged = tmp_path / f"{n}.json"
        staged.write_text(json.dumps(deployed(f"drop-{n}", "r.example/app:1", "drop")))
        shutil.move(staged, drop / staged.name)
    node.wait_total(3)
    node.wait_visible()
    assert len(node.json("/api/v1/environments/drop")["services"]) == 3
    node.restart()
    node.accept(json.dumps(deployed("after", "r.example/app:1", "drop")).encode(), wait="visible")
    assert node.size() == 4


def test_configuration_is_shown_without_secrets(tmp_path):
    config = tmp_path / "pedigraph.toml"
    config.write_text('[kafka]\nbrokers = "a:1"\n[kafka.options]\n"sasl.password" = "hush"\n')
    shown = ok("config", "show", "--config", config)
    assert b"hush" not in shown and b"a:1" in shown
    config.write_text('lissten = "127.0.0.1:0"\n')
    fails(2, "config", "show", "--config", config)


def test_tables_carry_no_control_characters(told):
    name = "evil\u001b[31m-service"
    told.accept(json.dumps(deployed(name, "r.example/app:1", "cli-evil")).encode(), wait="visible")
    assert b"\x1b" not in ok("env", "cli-evil", url=told.url)


def test_ndjson_of_a_thousand(told):
    body = b"\n".join(json.dumps(deployed(f"thousand-{n}", "r.example/app:1", "cli-thousand")).encode() for n in range(1000))
    answer = told.post(body, NDJSON, wait="visible")
    assert answer.status_code == 201, answer.text[:200]
    whole = ok("env", "cli-thousand", "--all", "-o", "json", url=told.url)
    assert len(json.loads(whole)["services"]) == 1000
    cut = run("env", "cli-thousand", "-o", "json", url=told.url)
    assert len(json.loads(cut.stdout)["services"]) == 100 and b"only 100 rows are shown" in cut.stderr
    problem(told.get("/api/v1/environments/never"), 404)


def test_an_export_that_breaks_off(tmp_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(json.dumps({"downloadUrl": "/pack", "bundleDigest": digest(1)}).encode())

        def do_GET(self):
            self.answer(b"PK" * 50_000, says=200_000)

        def answer(self, content, says=None):
            self.send_response(200)
            self.send_header("content-length", str(says or len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        done = fails(7, "export", digest(1), "-o", tmp_path / "pack.zip", url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert b"broke off" in done.stderr and b"try again" in done.stderr
    assert not list(tmp_path.iterdir()), "half a pack is none"


def test_what_cannot_be_written_is_an_error_and_a_closed_pipe_is_none(told, tmp_path):
    """A script must not take an empty file for an answer, nor `token new` print a token into nothing."""
    tokens = tmp_path / "tokens.toml"
    commands = [
        ["env", "cli-env", "-o", "json", "--url", told.url],
        ["env", "cli-env", "--url", told.url],
        ["log", "vkey", "--url", told.url],
        ["token", "new", "--tokens", tokens, "--name", "a", "--scope", "admin"],
        ["completions", "bash"],
    ]
    for command in commands:
        with pathlib.Path("/dev/full").open("wb") as full:
            done = subprocess.run([BINARY, *command], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
        assert done.returncode == 1, (command, done.stderr)
        assert b"cannot write to stdout: No space left" in done.stderr, (command, done.stderr)
    for command in commands[:3]:
        piped = subprocess.Popen([BINARY, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        piped.stdout.close()
        said = piped.stderr.read()
        assert (piped.wait(60), said) == (0, b""), command


def test_what_was_taken_before_a_directory_is_broken_off_is_told(tmp_path):
    """Receipts of what was recorded, where it stopped, and a wait when the server says when to come back."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(self.path)
            index = len(asked) - 1
            told = [
                (201, {"status": "accepted", "index": 0, "eventId": "a", "leafHash": digest(1)}, {}),
                (429, {"code": "RATE_LIMITED", "detail": "too many", "status": 429}, {"retry-after": "1"}),
                (201, {"status": "accepted", "index": 1, "eventId": "b", "leafHash": digest(2)}, {}),
                (507, {"code": "INSUFFICIENT_STORAGE", "detail": "no room", "status": 507}, {}),
            ]
            status, body, headers = told[index]
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    for name in "abcd":
        (tmp_path / f"{name}.json").write_text(json.dumps(CYCLONEDX))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        done = run("publish", tmp_path, "-o", "json", url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert [row["index"] for row in json.loads(done.stdout)["results"]] == [0, 1], done.stdout
    assert done.returncode == 1 and len(asked) == 4, done.stderr
    said = done.stderr.decode()
    assert "takes no more for now" in said and "2 of 4 files were sent before" in said and "c.json" in said, said


def test_a_key_that_was_cut_is_an_error_of_usage(told, tmp_path):
    key = ok("log", "vkey", url=told.url).decode().strip()
    ok("export", digest(0xC11), "-o", tmp_path / "pack.zip", url=told.url)
    ok("verify", tmp_path / "pack.zip", "--vkey", key)
    done = fails(2, "verify", tmp_path / "pack.zip", "--vkey", key[:-4])
    assert b"pedigraph log vkey" in done.stderr
