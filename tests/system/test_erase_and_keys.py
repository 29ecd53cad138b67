"""Bodies are erased and keys replaced on a stopped server; what was proved before stays proved."""

import base64
import json
import re

from pedigraph import CLOUDEVENT, deployed, problem, run, until

SECRET = "a-name-that-must-go"


def ok(*arguments, **more):
    done = run(*arguments, **more)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr.decode()}"
    return done.stdout.decode()


def on_disk(data, text):
    return [path for path in (data / "ledger").rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def told(node, name):
    answer = node.accept(json.dumps(deployed(name, "r.example/app:1", "erase-env", note=SECRET)).encode(), CLOUDEVENT, wait="visible")
    return answer


def view_root(data):
    return ok("rebuild", "--check", "--data", data).split()[0]


def test_a_body_is_erased(nodes):
    node = nodes()
    told(node, "keeps-its-entry")
    assert node.get("/api/v1/entries/0/body").status_code == 200
    answers = node.json("/api/v1/environments/erase-env")
    node.stop()
    assert on_disk(node.data, SECRET)
    said = ok("log", "erase", "0", "--reason", "asked for", "--data", node.data)
    assert "entry 1 says" in said
    assert not on_disk(node.data, SECRET)
    assert "1 bodies are erased" in ok("verify", node.data)
    assert run("log", "erase", "7", "--reason", "x", "--data", node.data).returncode == 1
    assert "gone already" in run("log", "erase", "0", "--reason", "x", "--data", node.data).stderr.decode()
    node.start()
    problem(node.get("/api/v1/entries/0/body"), 410, "BODY_ERASED")
    entry = node.json("/api/v1/entries/1")
    assert entry["type"] == "BodyErased", entry
    again = node.json("/api/v1/environments/erase-env")
    same = lambda answer: json.dumps({k: v for k, v in answer.items() if k not in ("asOf", "lagMs", "freshness")}, sort_keys=True)
    assert same(again) == same(answers)


def test_stats_say_what_the_ledger_costs(nodes):
    node = nodes()
    for name in ("one", "two", "three"):
        told(node, name)
    live = json.loads(ok("log", "stats", node.data, "-o", "json"))
    assert (live["entries"], live["erased"]) == (3, 0)
    node.stop()
    ok("log", "erase", "0", "--reason", "asked for", "--data", node.data)
    stats = json.loads(ok("log", "stats", node.data, "-o", "json"))
    assert (stats["entries"], stats["erased"]) == (4, 1)
    assert stats["tenants"]["default"]["entries"] == sum(day["entries"] for day in stats["days"]) == 4
    assert stats["tenants"]["default"]["bodies"] >= 3
    files = [path.stat().st_size for path in (node.data / "ledger").rglob("*") if path.is_file()]
    assert stats["bytes"] == sum(files)
    assert 0 < stats["bytes"] - stats["reservedBytes"] < 1 << 20, "reserved zeros are not content"
    assert stats["bytesPerEntry"] == (stats["bytes"] - stats["reservedBytes"]) // 4
    assert stats["segments"]["count"] == len(list((node.data / "ledger" / "journal").glob("*.seg")))
    table = ok("log", "stats", node.data)
    assert "4 entries" in table and "1 bodies erased" in table and "default" in table
    assert run("log", "stats", node.data.parent / "nothing").returncode == 3


def chain_of(node):
    return node.get("/ledger/default/keys").text


def test_a_key_is_rotated_and_its_chain_leads_on(nodes):
    node = nodes()
    told(node, "first")
    first = node.get("/ledger/default/vkey").text.strip()
    old_secret = (node.data / "ledger" / "key").read_text().split()[-1]
    node.stop()
    ok("key", "rotate", "--data", node.data)
    assert not on_disk(node.data, old_secret)
    seed = "07" * 32
    env = {"PEDIGRAPH_LEDGER_KEY": seed}
    newest = ok("key", "rotate", "--to-signer", "--data", node.data, **env).strip()
    assert not (node.data / "ledger" / "key").exists()
    assert not on_disk(node.data, seed)
    for output in (run("key", "show", "--data", node.data, **env), run("key", "rotate", "--to-signer", "--data", node.data, **env)):
        assert seed not in (output.stdout + output.stderr).decode()
    chain = ok("log", "vkey", "--chain", "--data", node.data)
    assert len(re.findall(r"^pedigraph key rotation 1$", chain, re.M)) == 2
    public = base64.b64decode(first.split("+", 2)[2])[1:]
    assert f"old {base64.b64encode(public).decode()}" in chain
    assert "verified" in ok("verify", node.data)
    # The server does not publish without the key that signs now.
    done = run("up", "--data", node.data, "--listen", "127.0.0.1:0", timeout=30)
    assert done.returncode == 1 and b"key" in done.stderr
