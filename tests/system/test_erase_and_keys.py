"""Bodies are erased, on a stopped server and on one at work, and keys replaced; what was proved before stays proved."""

import base64
import concurrent.futures
import hashlib
import json
import random
import re
import threading

import requests

from pedigraph import CLOUDEVENT, deployed, problem, run, until

SECRET = "a-name-that-must-go"


def ok(*arguments, **more):
    done = run(*arguments, **more)
    assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stderr.decode()}"
    return done.stdout.decode()


def on_disk(data, text, below="ledger"):
    return [path for path in (data / below).rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


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


def erase(node, index, reason="asked for", **said):
    return node.post({"reason": reason, **said}, path=f"/api/v1/entries/{index}/erase")


def erased(node, index, **said):
    answer = erase(node, index, **said)
    assert answer.status_code == 200, f"{answer.status_code} {answer.text[:500]}"
    return answer.json()["receipts"]


def large_event(name, note):
    """Its body is no part of the journal."""
    event = deployed(name, "r.example/app:1", "erase-env", note=note)
    event["data"]["padding"] = random.Random(7).randbytes(60_000).hex()
    return json.dumps(event).encode()


def reader_of(nodes, node):
    """A read node on the same ledger, with views of its own."""
    beside = node.data.parent / "reader"
    beside.mkdir()
    (beside / "ledger").symlink_to(node.data / "ledger")
    return nodes(beside.name, role="serve")


class Flow:
    """Events that go on coming, from two senders, while something else is done."""

    def __init__(self, node):
        self.node, self.sent, self.stopped = node, [0, 0], threading.Event()
        self.threads = [threading.Thread(target=self._send, args=(n,)) for n in range(2)]

    def _send(self, n):
        with requests.Session() as session:
            while not self.stopped.is_set():
                event = json.dumps(deployed(f"flow-{n}-{self.sent[n]}", "r.example/app:2", "flow-env")).encode()
                answer = session.post(self.node.url + "/api/v1/events", data=event, headers={"content-type": CLOUDEVENT}, timeout=60)
                assert answer.status_code == 201, answer.text
                self.sent[n] += 1

    def __enter__(self):
        [thread.start() for thread in self.threads]
        return self.more(20)

    def more(self, count):
        """Until that many more are durable."""
        wanted = sum(self.sent) + count
        until(lambda: sum(self.sent) >= wanted or not all(map(threading.Thread.is_alive, self.threads)), f"{wanted} events sent")
        assert all(map(threading.Thread.is_alive, self.threads)), "a sender failed"
        return self

    def __exit__(self, *_):
        self.stopped.set()
        [thread.join() for thread in self.threads]


def test_bodies_are_erased_while_events_flow_in(nodes):
    node = nodes(env={"PEDIGRAPH_VIEW_ROOT_INTERVAL_MS": "100"})
    elsewhere = reader_of(nodes, node)
    large = large_event("large", SECRET)
    stored = hashlib.sha256(large).hexdigest()
    stored = node.data / "ledger" / "bodies" / stored[:2] / stored
    with Flow(node) as flow:
        small = told(node, "small")["index"]
        gone = [small, node.accept(large)["index"]]
        newest = told(node, "newest")["index"]
        bodies = [node.get(f"/api/v1/entries/{index}/body") for index in (*gone, newest)]
        assert all(body.status_code == 200 and SECRET in body.text for body in bodies)
        until(lambda: elsewhere.get(f"/api/v1/entries/{newest}/body").status_code == 200, "the read node has them")
        answers = node.json("/api/v1/environments/erase-env")
        assert on_disk(node.data, SECRET, ".") and stored.stat().st_size > 60_000
        # The newest entry first: its bytes are in the page that the writer writes next, and in its memory.
        for index in (newest, *gone):
            receipt, = erased(node, index, actor="tester")
            for asked in (node, elsewhere):
                problem(asked.get(f"/api/v1/entries/{index}/body"), 410, "BODY_ERASED")
            said = node.json(f"/api/v1/entries/{receipt['index']}")
            assert (receipt["status"], said["type"]) == ("accepted", "BodyErased")
            told_why = node.get(f"/api/v1/entries/{receipt['index']}/body").json()
            assert (told_why["reason"], told_why["actor"], told_why["indexes"]) == ("asked for", "tester", [index])
            assert erased(node, index) == [], "gone already"
            flow.more(20)
        assert not on_disk(node.data, SECRET, ".")
        assert stored.stat().st_size == 16
        assert "verified" in ok("verify", node.data), "beside the writer"
        flow.more(20)
    node.wait_visible()
    same = lambda answer: json.dumps({k: v for k, v in answer.items() if k not in ("asOf", "lagMs", "freshness")}, sort_keys=True)
    assert same(node.json("/api/v1/environments/erase-env")) == same(answers)
    elsewhere.stop()
    assert node.stop() == 0
    assert not on_disk(node.data, SECRET, ".")
    assert "3 bodies are erased" in ok("verify", node.data)
    # What was folded with the bytes there is folded again without them.
    compared = re.search(r"(\d+) recorded view roots compared, (\d+) differ", run("rebuild", "--check", "--data", node.data).stderr.decode())
    assert int(compared[1]) >= 2 and int(compared[2]) == 0, compared[0]


def test_what_was_erased_stays_erased_after_a_kill(nodes):
    node = nodes()
    for n in range(4):
        body = large_event(f"large-{n}", SECRET) if n % 2 else json.dumps(deployed(f"small-{n}", "r.example/app:1", note=SECRET)).encode()
        index = node.accept(body)["index"]
        receipt, = erased(node, index)
        node.kill()
        assert not on_disk(node.data, SECRET, ".")
        assert f"{n + 1} bodies are erased" in ok("verify", node.data)
        node.start()
        problem(node.get(f"/api/v1/entries/{index}/body"), 410, "BODY_ERASED")
        assert node.json(f"/api/v1/entries/{receipt['index']}")["type"] == "BodyErased"


def test_the_same_erasure_asked_for_at_once_is_recorded_once(nodes):
    node = nodes()
    told(node, "wanted-by-many")
    told(node, "stays")
    ask = lambda _: requests.post(node.url + "/api/v1/entries/0/erase", json={"reason": "asked for"}, timeout=60)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6, [answer.text for answer in answers]
    indexes = {receipt["index"] for answer in answers for receipt in answer.json()["receipts"]}
    assert indexes == {2} and node.size() == 3
    assert node.get("/api/v1/entries/1/body").status_code == 200
    node.stop()
    assert "1 bodies are erased" in ok("verify", node.data)


def test_an_erasure_that_cannot_be_is_refused(nodes):
    node = nodes()
    told(node, "kept")
    path = "/api/v1/entries/0/erase"
    problem(erase(node, 7), 404, "ENTRY_NOT_FOUND")
    problem(node.post(b"{}", path=path), 400, "BAD_REQUEST")
    problem(node.post(b"reason", path=path), 400, "BAD_REQUEST")
    problem(node.post({"reason": "x", "why": "y"}, path=path), 400, "BAD_REQUEST")
    for reason in ("", "  ", "r" * 1025):
        problem(erase(node, 0, reason), 400, "INVALID_PARAMETER")
    problem(erase(node, 0, actor="a" * 1025), 400, "INVALID_PARAMETER")
    problem(node.post({"reason": "x"}, path="/api/v1/entries/none/erase"), 400)
    problem(node.get(path), 405, "METHOD_NOT_ALLOWED")
    # A page of another site cannot make a browser on this machine do it.
    problem(node.post({"reason": "x"}, path=path, headers={"origin": "http://evil.test"}), 403, "ORIGIN_NOT_ALLOWED")
    problem(node.post({"reason": "x"}, path=path, headers={"host": "evil.test"}), 421, "HOST_NOT_ALLOWED")
    reader = reader_of(nodes, node)
    problem(erase(reader, 0), 503, "INTAKE_UNAVAILABLE")
    assert node.get("/api/v1/entries/0/body").status_code == 200
    assert node.size() == 1


def test_the_command_erases_on_a_running_server(nodes):
    node = nodes()
    told(node, "first")
    told(node, "second")
    assert run("log", "erase", "0", "--reason", "x", "--data", node.data).returncode == 1, "a server has the ledger"
    said = ok("log", "erase", "0", "1", "--reason", "asked for", "--url", node.url)
    assert said.splitlines() == ["erased, which entry 2 says", "erased, which entry 3 says"]
    assert not on_disk(node.data, SECRET, ".")
    again = run("log", "erase", "0", "--reason", "x", url=node.url)
    assert again.returncode == 0 and b"gone already" in again.stderr
    assert run("log", "erase", "9", "--reason", "x", url=node.url).returncode == 3
    assert run("log", "erase", "0", "--reason", " ", url=node.url).returncode == 2



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


def test_an_old_key_and_an_old_policy_lead_to_the_new_key(nodes, tmp_path):
    node = nodes()
    told(node, "first")
    node.stop()
    first = ok("log", "vkey", "--data", node.data).strip()
    policy = tmp_path / "policy"
    policy.write_text(f"log {first}\nquorum none\n")
    ok("key", "rotate", "--data", node.data)
    node.start()
    told(node, "second")
    until(lambda: node.signed_size() == node.size(), "the checkpoint by the new key", alive=node.alive)
    proof, entry, chain = tmp_path / "proof", tmp_path / "entry", tmp_path / "chain"
    ok("log", "proof", "0", "--url", node.url, "-o", proof)
    ok("log", "entry", "0", "--url", node.url, "-o", entry)
    ok("log", "vkey", "--chain", "--url", node.url, "-o", chain)
    offline = lambda *trust: run("verify", "--proof", proof, "--entry", entry, *trust).returncode
    assert offline("--vkey", first) == offline("--policy", policy) == 5, "nobody said that there is a newer key"
    assert offline("--vkey", first, "--keys", chain) == offline("--policy", policy, "--keys", chain) == 0
    # The chain of another ledger leads nowhere.
    other = nodes("other")
    other.stop()
    ok("key", "rotate", "--data", other.data)
    foreign = tmp_path / "foreign"
    ok("log", "vkey", "--chain", "--data", other.data, "-o", foreign)
    assert offline("--vkey", first, "--keys", foreign) == offline("--policy", policy, "--keys", foreign) == 5
    stranger = ok("log", "vkey", "--data", other.data).strip()
    assert offline("--vkey", stranger, "--keys", chain) == 5
    # A URL, a directory and a static copy have the chain themselves.
    copy = tmp_path / "copy"
    ok("log", "mirror", copy, "--data", node.data)
    for target in (node.url + "/ledger/default", node.data, copy):
        for trust in (("--vkey", first), ("--policy", policy), ("--vkey", first, "--keys", chain)):
            ok("verify", target, *trust)
        assert run("verify", target, "--vkey", stranger).returncode == 5
