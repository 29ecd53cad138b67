"""The command line: data on stdout, talk on stderr, exit codes that scripts can rely on (SPEC 8)."""

import http.server
import json
import shutil
import threading

import pytest

from pedigraph import (
    CLOUDEVENT,
    NDJSON,
    deployed,
    digest,
    free_port,
    problem,
    published,
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
    replayed = run("rejects", "replay", row["index"], "-o", "json", url=told.url)
    assert json.loads(replayed.stdout)["results"]


@pytest.mark.parametrize(
    ("arguments", "path", "query"),
    [
        (["trace", "cli-env/cli"], "/api/v1/trace", {"ref": "cli-env/cli"}),
        (["env", "cli-env"], "/api/v1/environments/cli-env", {}),
        (["env", "cli-env", "--changes"], "/api/v1/environments/cli-env/changes", {}),
        (["env"], "/api/v1/environments", {}),
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


def test_env_in_the_past(told):
    assert run("env", "cli-env", "--at", "2025-12-31T00:00:00Z", url=told.url).returncode == 3, "nobody had named it yet"
    body = json.loads(ok("env", "cli-env", "--at", "2026-01-01T00:00:00Z", "-o", "json", url=told.url))
    assert [service["service"] for service in body["services"]] == ["cli"]


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
    assert len(json.loads(ok("env", "cli-thousand", "-o", "json", url=told.url))["services"]) == 1000
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
