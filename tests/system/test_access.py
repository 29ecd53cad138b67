"""Static tokens: who may ask what, for two tenants on one server; tokens that are made, listed and taken away while it runs."""

import base64
import hashlib
import json
import stat
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import verifiers
from pedigraph import CLOUDEVENT, deployed, digest, free_port, problem, published, run, until

EVERYTHING = ("lineage:read", "lineage:export", "events:write", "ledger:read", "admin")


class Tokens:
    """The file, changed by the command line."""

    def __init__(self, directory):
        self.file = directory / "tokens.toml"

    def new(self, name, *scopes, **more):
        scopes = [word for scope in scopes or EVERYTHING for word in ("--scope", scope)]
        more = [word for option, value in more.items() for word in (f"--{option}", value)]
        done = self.run("new", "--name", name, *scopes, *more)
        assert done.returncode == 0, done.stderr.decode()
        token = done.stdout.decode()
        assert token.startswith("pdg_") and len(token) == 4 + 43 + 1 and token.encode().strip() not in done.stderr
        return token.strip()

    def run(self, *arguments):
        return run("token", *arguments, "--tokens", self.file)

    def remove(self, name):
        done = self.run("remove", name)
        assert done.returncode == 0, done.stderr.decode()


@pytest.fixture
def tokens(tmp_path):
    return Tokens(tmp_path)


def guarded(nodes, tokens, **more):
    return nodes(options=("--tokens", tokens.file), **more)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


def basic(token):
    return {"authorization": "Basic " + base64.b64encode(f"me:{token}".encode()).decode()}


def send(node, token, event, **more):
    return node.accept(json.dumps(event).encode(), CLOUDEVENT, headers=bearer(token), wait="visible", **more)


def signed_size(node, tenant):
    answer = node.get(f"/ledger/{tenant}/checkpoint")
    return int(answer.text.split("\n")[1]) if answer.status_code == 200 else 0


# The command line and its file


def test_tokens_are_made_listed_and_taken_away(tokens):
    tokens.new("first", "events:write")
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o600
    tokens.file.write_text("# ours\n" + tokens.file.read_text() + "\n# of the second\n")
    tokens.file.chmod(0o640)
    second = tokens.new("second", "lineage:read", "ledger:read", tenant="shop", expires="2100-01-01T00:00:00Z")
    text = tokens.file.read_text()
    assert second not in text and hashlib.sha256(second.encode()).hexdigest() in text
    assert stat.S_IMODE(tokens.file.stat().st_mode) == 0o640
    listed = tokens.run("list", "-o", "json")
    assert json.loads(listed.stdout)["tokens"] == [
        {"name": "first", "tenant": "default", "scopes": ["events:write"]},
        {"name": "second", "tenant": "shop", "scopes": ["ledger:read", "lineage:read"], "expires": "2100-01-01T00:00:00Z"},
    ]
    table = tokens.run("list").stdout.decode()
    assert "ledger:read,lineage:read" in table and hashlib.sha256(second.encode()).hexdigest() not in table + listed.stdout.decode()
    tokens.remove("first")
    left = tokens.file.read_text()
    assert "# ours" in left and "# of the second" in left and "first" not in left
    assert [row["name"] for row in json.loads(tokens.run("list", "-o", "json").stdout)["tokens"]] == ["second"]


def test_what_cannot_be_done_with_the_file_is_said(tokens):
    assert tokens.run("list").returncode == 1
    assert tokens.run("remove", "nobody").returncode == 3
    assert tokens.run("new", "--name", "a", "--scope", "all").returncode == 2
    assert tokens.run("new", "--name", "a", "--scope", "admin", "--expires", "2001-01-01T00:00:00Z").returncode == 2
    assert tokens.run("new", "--name", "a", "--scope", "admin", "--tenant", "No!").returncode == 2
    assert tokens.run("new", "--name", "", "--scope", "admin").returncode == 2
    assert not tokens.file.exists() and not list(tokens.file.parent.iterdir())
    tokens.new("a", "admin")
    kept = tokens.file.read_bytes()
    assert tokens.run("new", "--name", "a", "--scope", "admin").returncode == 2
    assert tokens.run("remove", "nobody").returncode == 3
    assert tokens.file.read_bytes() == kept
    row = '{name = "%s", scopes = ["admin"], sha256 = "%s"}'
    tokens.file.write_text(f"token = [{row % ('a', '1' * 64)}, {row % ('b', '2' * 64)}]\n")
    assert b"editor" in tokens.run("remove", "a").stderr
    assert [path.name for path in tokens.file.parent.iterdir()] == [tokens.file.name]


def test_commands_at_the_same_time_lose_nothing(tokens):
    tokens.new("before", "admin")
    names = [f"t{n}" for n in range(8)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        done = list(pool.map(lambda name: tokens.run("new", "--name", name, "--scope", "admin"), names))
        assert [result.returncode for result in done] == [0] * 8, done
        named = lambda: {row["name"] for row in json.loads(tokens.run("list", "-o", "json").stdout)["tokens"]}
        assert named() == {"before", *names}
        assert not any(result.returncode for result in pool.map(lambda name: tokens.run("remove", name), names))
    assert named() == {"before"} and [path.name for path in tokens.file.parent.glob(".*")] == []


def test_without_tokens_only_loopback_is_served_and_a_wrong_file_ends_the_start(tokens, tmp_path):
    up = lambda *more: run("up", "--data", tmp_path / "data", *more)
    open_ = up("--listen", f"0.0.0.0:{free_port()}")
    assert open_.returncode == 2 and b"--tokens" in open_.stderr
    missing = up("--listen", "127.0.0.1:0", "--tokens", tokens.file)
    assert missing.returncode == 2 and b"pedigraph token new" in missing.stderr
    tokens.new("a", "admin")
    text = tokens.file.read_text()
    for wrong, said in ((text.replace("admin", "root"), b"line 4"), (text + text, b'two tokens are named "a"')):
        tokens.file.write_text(wrong)
        done = up("--listen", "127.0.0.1:0", "--tokens", tokens.file)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    tokens.file.write_text(text)
    tokens.file.chmod(0o606)
    assert b"chmod" in up("--listen", "127.0.0.1:0", "--tokens", tokens.file).stderr


# A server


def test_any_address_is_served_and_everything_asks_for_a_token(nodes, tokens):
    token = tokens.new("all")
    node = guarded(nodes, tokens, listen="0.0.0.0:0")
    with requests.Session() as session:
        for path in ("/", "/api/v1/freshness", "/metrics", "/api/v1/entries", "/api/v1/subscribe", "/nowhere"):
            problem(session.get(node.url + path), 401, "UNAUTHENTICATED")
            named = session.get(node.url + path, headers={**bearer(token), "host": "pedigraph.example"}, stream=True)
            assert named.status_code == (404 if path == "/nowhere" else 200), path
            named.close()
        for path in ("/livez", "/readyz", "/openapi.json", "/ledger/default/vkey"):
            assert session.get(node.url + path).status_code == 200, path
        assert "[+]tokens ok" in session.get(node.url + "/readyz?verbose").text


def test_a_browser_is_asked_for_its_token_on_the_page_and_a_password_works_too(nodes, tokens):
    token = tokens.new("person", "lineage:read")
    node = guarded(nodes, tokens)
    page = node.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401 and "text/html" in page.headers["content-type"]
    assert page.headers["www-authenticate"] == 'Bearer realm="pedigraph"' and 'action="/sign-in"' in page.text
    assert node.get("/assets/x/style.css").status_code == 404
    assert "Pedigraph" in node.get("/", headers={"accept": "text/html", **basic(token)}).text
    assert requests.get(node.url + "/api/v1/freshness", auth=("", token)).status_code == 200
    event = json.dumps(deployed("cart", "r.example/cart:1")).encode()
    writer = tokens.new("writer", "events:write")
    until(lambda: node.post(event, CLOUDEVENT, headers=bearer(writer)).status_code in (200, 201), "the new token works", 3)
    foreign = node.post(event, CLOUDEVENT, headers={**basic(writer), "origin": "https://evil.example"})
    problem(foreign, 403, "ORIGIN_NOT_ALLOWED")


def test_a_token_is_taken_away_while_the_server_runs(nodes, tokens):
    tokens.new("stays", "lineage:read")
    token = tokens.new("goes", "lineage:read")
    node = guarded(nodes, tokens)
    ask = lambda: node.get("/api/v1/freshness", headers=bearer(token)).status_code
    assert ask() == 200
    stream = requests.get(node.url + "/api/v1/subscribe", headers=bearer(token), stream=True, timeout=30)
    assert stream.status_code == 200
    tokens.remove("goes")
    began = time.monotonic()
    until(lambda: ask() == 401, "the token is refused", 2)
    assert time.monotonic() - began < 2
    late = tokens.new("goes", "lineage:read")
    until(lambda: node.get("/api/v1/freshness", headers=bearer(late)).status_code == 200, "a new one is good", 2)
    assert ask() == 401
    stream.close()


def test_a_file_that_is_wrong_keeps_the_tokens_and_shows(nodes, tokens):
    token = tokens.new("all")
    node = guarded(nodes, tokens)
    text = tokens.file.read_text()
    ask = lambda: node.get("/api/v1/freshness", headers=bearer(token)).status_code
    for wrong in (text + "role = 1\n", None):
        tokens.file.unlink() if wrong is None else tokens.file.write_text(wrong)
        until(lambda: "the file is wrong" in node.get("/readyz?verbose").text, "it shows", 3)
        # A slip in a file that all nodes read must not stop all of them: the metric is what raises the alarm.
        assert node.get("/readyz").status_code == 200 and ask() == 200
        assert "\npedigraph_token_file_usable 0.0\n" in node.get("/metrics", headers=bearer(token)).text
        tokens.file.write_text(text)
        until(lambda: "[+]tokens ok\n" in node.get("/readyz?verbose").text, "it is good again", 3)
        assert ask() == 200
        assert "\npedigraph_token_file_usable 1.0\n" in node.get("/metrics", headers=bearer(token)).text
    errors = [line for line in node.log.read_text().splitlines() if "the tokens from before go on" in line]
    assert len(errors) == 2, errors


def test_an_expired_token_is_as_good_as_none(nodes, tokens):
    token = tokens.new("short", "lineage:read", expires="2100-01-01T00:00:00Z")
    tokens.file.write_text(tokens.file.read_text().replace("2100", "2020"))
    node = guarded(nodes, tokens)
    expired = problem(node.get("/api/v1/freshness", headers=bearer(token)), 401, "UNAUTHENTICATED")
    unknown = problem(node.get("/api/v1/freshness", headers=bearer("pdg_x")), 401, "UNAUTHENTICATED")
    assert expired["detail"] == unknown["detail"]


def test_no_token_gets_into_the_log(nodes, tokens):
    good, reader = tokens.new("good"), tokens.new("reader", "lineage:read")
    node = nodes(options=("--tokens", tokens.file), env={"RUST_LOG": "debug"})
    bad = "pdg_" + "b" * 43
    for token in (good, reader, bad):
        for headers in (bearer(token), basic(token), {"authorization": f"Digest {token}"}):
            node.get("/api/v1/freshness", headers=headers)
            node.get("/api/v1/entries/7", headers=headers)
            node.post({"bad": "event"}, headers=headers)
            node.post({}, path="/api/v1/entries/7/erase", headers=headers)
        node.get(f"/api/v1/freshness?token={token}")
    tokens.file.write_text(tokens.file.read_text() + f'{good}\n')
    until(lambda: "the file is wrong" in node.get("/readyz?verbose").text, "the file is wrong", 3)
    node.stop()
    log = node.log.read_text(errors="replace")
    assert log.count('"answered"') >= 30, "the log was at the level of debug"
    for token in (good, reader, bad):
        for secret in (token, hashlib.sha256(token.encode()).hexdigest(), basic(token)["authorization"][6:]):
            assert secret not in log


# Two tenants


@pytest.fixture
def two(nodes, tokens):
    """A server with an artifact of each of two tenants, and a token of each that may do everything."""
    ours, theirs = tokens.new("ours"), tokens.new("theirs", tenant="shop")
    node = guarded(nodes, tokens)
    for name, token, number in (("ours", ours, 0xA), ("theirs", theirs, 0xB)):
        send(node, token, published(f"r.example/{name}:1", digest(number)))
        send(node, token, deployed(name, f"r.example/{name}:1", "prod", artifactDigest=digest(number)))
    until(lambda: signed_size(node, "default") == 2 and signed_size(node, "shop") == 2, "both logs have a checkpoint")
    return node, ours, theirs


def test_neither_tenant_sees_the_other(two, tokens, tmp_path):
    node, ours, theirs = two
    get = lambda token, path, **query: node.get(path, headers=bearer(token), **query)
    for token, own, other in ((ours, "ours", "theirs"), (theirs, "theirs", "ours")):
        own_digest, other_digest = (digest(0xA), digest(0xB)) if own == "ours" else (digest(0xB), digest(0xA))
        services = get(token, "/api/v1/environments/prod").json()["services"]
        assert [service["service"] for service in services] == [own]
        entries = get(token, "/api/v1/entries").json()["entries"]
        assert [entry["index"] for entry in entries] == [0, 1]
        assert own.encode() in get(token, "/api/v1/entries/0/body").content
        for path in (f"/api/v1/artifacts/{other_digest}", f"/api/v1/lineage/{other_digest}", f"/artifacts/{other_digest}"):
            assert get(token, path).status_code == 404, path
        assert get(token, "/api/v1/trace", ref=f"r.example/{other}:1").status_code == 404
        assert get(token, "/api/v1/resolve", q=other_digest).json()["candidates"] == []
        for page in ("/", "/environments/prod", "/search?q=r.example", "/entries/0", f"/artifacts/{own_digest}"):
            shown = get(token, page)
            assert shown.status_code == 200 and f"r.example/{other}" not in shown.text and other_digest not in shown.text, page
        tenant, foreign = ("default", "shop") if own == "ours" else ("shop", "default")
        bundle = get(token, f"/ledger/{tenant}/tile/entries/000.p/2").content
        assert tenant.encode() in bundle and foreign.encode() not in bundle
        problem(get(token, f"/ledger/{foreign}/tile/entries/000.p/2"), 403, "SCOPE_MISSING")
        assert get(token, "/api/v1/proofs/consistency", from_=1).json()["origin"].endswith(f"/{tenant}")
    problem(node.get("/ledger/nobody/checkpoint"), 404)
    for tenant in ("default", "shop"):
        assert len(node.get(f"/ledger/{tenant}/tile/0/000.p/2").content) == 64
        problem(node.get(f"/ledger/{tenant}/tile/entries/000.p/2"), 401, "UNAUTHENTICATED")


def test_neither_tenant_hears_the_other(two):
    node, ours, theirs = two
    heard = {}

    def listen(name, token):
        with requests.get(node.url + "/api/v1/subscribe?from=1", headers=bearer(token), stream=True, timeout=30) as stream:
            for line in stream.iter_lines(decode_unicode=True):
                heard.setdefault(name, []).append(line)
                if f"{name}-service" in line:
                    return

    listeners = [threading.Thread(target=listen, args=pair, daemon=True) for pair in (("ours", ours), ("theirs", theirs))]
    for listener in listeners:
        listener.start()
    for name, token in (("ours", ours), ("theirs", theirs)):
        send(node, token, deployed(f"{name}-service", f"r.example/{name}:2", f"{name}-service"))
    for listener in listeners:
        listener.join(timeout=30)
        assert not listener.is_alive(), heard
    assert "theirs" not in "\n".join(heard["ours"]) and "ours" not in "\n".join(heard["theirs"])


def test_neither_tenant_exports_or_erases_the_other_s(two, tmp_path):
    node, ours, theirs = two
    pack = tmp_path / "pack.zip"
    export = lambda token, number: run("export", digest(number), "-o", pack, "--token", token, url=node.url)
    assert export(theirs, 0xA).returncode == 3
    done = export(theirs, 0xB)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(pack).namelist()
    assert names and not any(b"ours" in zipfile.ZipFile(pack).read(name) for name in names)
    vkey = node.get("/ledger/shop/vkey").text.strip()
    assert run("verify", pack, "--vkey", vkey).returncode == 0
    problem(node.get(f"/api/v1/exports/{done.stdout.decode().strip()}", headers=bearer(ours)), 404)
    erase = lambda token, index: run("log", "erase", index, "--reason", "asked", "--token", token, url=node.url)
    assert erase(theirs, 1).returncode == 0
    problem(node.get("/api/v1/entries/1/body", headers=bearer(theirs)), 410, "BODY_ERASED")
    assert node.get("/api/v1/entries/1/body", headers=bearer(ours)).status_code == 200
    said = node.get("/api/v1/entries/2", headers=bearer(theirs)).json()
    assert said["type"] == "BodyErased"
    problem(node.get("/api/v1/entries/2", headers=bearer(ours)), 404, "ENTRY_NOT_FOUND")


def test_documents_and_replays_are_the_token_s_tenant_s(two):
    node, ours, theirs = two
    document = b'{"what": "is this"}'
    answer = node.post(document, "application/json", path="/api/v1/documents", headers=bearer(theirs))
    assert answer.status_code == 422 and answer.json()["index"] == 2
    problem(node.post(b"", None, path="/api/v1/rejects/2/replay", headers=bearer(ours)), 404, "ENTRY_NOT_FOUND")
    again = node.post(b"", None, path="/api/v1/rejects/2/replay", headers=bearer(theirs))
    assert again.status_code in (200, 422), again.text
    until(lambda: len(node.get("/api/v1/entries", headers=bearer(theirs)).json()["entries"]) >= 3, "the reject is visible")
    assert len(node.get("/api/v1/entries", headers=bearer(ours)).json()["entries"]) == 2


# Clients


def test_every_command_sends_the_token_and_ends_with_4_without(two, tmp_path):
    node, ours, _ = two
    file = tmp_path / "event.json"
    file.write_text(json.dumps(deployed("cli", "r.example/cli:1")))
    bad = tmp_path / "bad.json"
    bad.write_text('{"no": "event"}')
    node.post(bad.read_bytes(), headers=bearer(ours))
    vkey = node.get("/ledger/default/vkey").text.strip()
    commands = (
        ("publish", file),
        ("trace", "prod/ours"),
        ("env",),
        ("env", "prod", "--changes"),
        ("impact", "pkg:npm/left-pad"),
        ("export", digest(0xA), "-o", tmp_path / "pack.zip"),
        ("rejects", "list"),
        ("rejects", "show", "2"),
        ("log", "entries"),
        ("log", "proof", "0"),
        ("log", "entry", "0"),
        ("verify", node.url + "/ledger/default", "--vkey", vkey),
        ("log", "erase", "0", "--reason", "asked"),
    )
    for command in commands:
        for refused in ((), ("--token", "pdg_bad")):
            done = run(*command, *refused, url=node.url)
            assert done.returncode == 4, f"{command}: {done.returncode} {done.stderr.decode()}"
            assert b"token" in done.stderr
        assert run(*command, url=node.url, PEDIGRAPH_TOKEN=ours).returncode == 0, command
    for public in (("log", "vkey"), ("log", "checkpoint"), ("log", "vkey", "--chain")):
        assert run(*public, url=node.url).returncode == 0
        assert run(*public, "--token", ours, url=node.url).returncode == 0
    assert run("rejects", "replay", "2", url=node.url).returncode == 4
    assert b"rejected" in run("rejects", "replay", "2", url=node.url, PEDIGRAPH_TOKEN=ours).stdout


def test_a_scope_is_named_when_it_is_missing(two, tokens, tmp_path):
    node, _, _ = two
    reader = tokens.new("reader", "lineage:read")
    until(lambda: node.get("/api/v1/freshness", headers=bearer(reader)).status_code == 200, "the new token works", 3)
    refused = run("export", digest(0xA), "-o", tmp_path / "pack.zip", "--token", reader, url=node.url)
    assert refused.returncode == 4 and b"SCOPE_MISSING" in refused.stderr and b"lineage:export" in refused.stderr
    vkey = node.get("/ledger/default/vkey").text.strip()
    refused = run("verify", node.url + "/ledger/default", "--vkey", vkey, "--token", reader)
    assert refused.returncode == 4 and b"ledger:read" in refused.stderr


def test_strangers_check_hashes_without_a_token_and_entries_with_one(two, tmp_path):
    node, ours, theirs = two
    able = verifiers.available()
    for tenant, token in (("default", ours), ("shop", theirs)):
        base, key = f"{node.url}/ledger/{tenant}", tmp_path / f"{tenant}.vkey"
        key.write_bytes(run("log", "vkey", "--tenant", tenant, url=node.url).stdout)
        if verifiers.aics in able:
            accepted, said = verifiers.aics(base, key)
            assert accepted, said
        accepted, said = verifiers.fsck(base, key)
        assert not accepted and "401" in said, said
        accepted, said = verifiers.fsck(base, key, token=token)
        assert accepted, said


def test_a_public_ledger_needs_no_token(nodes, tokens, tmp_path):
    token = tokens.new("ours", "events:write", tenant="shop")
    config = tmp_path / "config.toml"
    config.write_text(f"public-ledger = true\ntokens = {json.dumps(str(tokens.file))}\n")
    node = nodes(options=("--config", config))
    send(node, token, deployed("ours", "r.example/ours:1"))
    until(lambda: signed_size(node, "shop") == 1, "a checkpoint")
    vkey = node.get("/ledger/shop/vkey").text.strip()
    assert run("verify", node.url + "/ledger/shop", "--vkey", vkey).returncode == 0
    problem(node.get("/api/v1/entries"), 401)
