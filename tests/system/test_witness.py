"""Witnesses: what is published, marked, held or fatal when they cosign, fail, or contradict (C2SP tlog-witness).

The peers are aics-witness of the Python package index and a scripted one, which says what the test wants.
"""

import base64
import contextlib
import datetime
import hashlib
import http.server
import ipaddress
import json
import os
import re
import ssl
import subprocess
import threading

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import missing
from pedigraph import Node, cloudevent, digest, free_port, published, run, until

AICS = os.environ.get("PEDIGRAPH_TEST_AICS_WITNESS")
NAME = "scripted.example"
FORKED = 9


class Scripted:
    """A witness that answers as `script` says: with a status and a body, or not at all. Checks no proof."""

    def __init__(self, seed=1, tls=None):
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.typed = b"\x04" + self.key.public_key().public_bytes_raw()
        self.vkey = f"{NAME}+{self.key_id().hex()}+{base64.b64encode(self.typed).decode()}"
        self.script = self.cosign
        self.asked = []
        self.over = threading.Event()
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                head, note = body.split("\n\n", 1)
                peer.asked.append((self.path, int(head.split("\n")[0].removeprefix("old ")), head.split("\n")[1:], note))
                answer = peer.script(peer.asked[-1])
                if answer is None:
                    peer.over.wait(30)
                    return
                status, content = answer
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}"
        if tls:
            # The handshake in the thread of the request: one that is refused must not end the server.
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def key_id(self):
        return hashlib.sha256(NAME.encode() + b"\n" + self.typed).digest()[:4]

    def line(self, note, time=1_700_000_000):
        signed = f"cosignature/v1\ntime {time}\n".encode() + note.split("\n\n")[0].encode() + b"\n"
        payload = self.key_id() + time.to_bytes(8, "big") + self.key.sign(signed)
        return f"\u2014 {NAME} {base64.b64encode(payload).decode()}\n".encode()

    def cosign(self, asked):
        return 200, self.line(asked[3])

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


def policy_of(directory, vkey, url):
    file = directory / "policy"
    file.write_text(f"witness W {vkey} {url}\nquorum W\n")
    return file


@pytest.fixture
def peer():
    peer = Scripted()
    yield peer
    peer.close()


@contextlib.contextmanager
def started(directory, policy, mode="publish", timeout_ms=10_000, env=None):
    config = directory / "c.toml"
    config.write_text("checkpoint-interval-ms = 100\n")
    options = ["--config", config, "--witness-policy", policy, "--witness-mode", mode, "--witness-timeout-ms", str(timeout_ms)]
    node = Node(directory / "data", options=map(str, options), env=env).start()
    try:
        yield node
    finally:
        node.kill()


def send(node, number=0):
    return node.accept(cloudevent("dev.example.note", {"n": number}, id_=f"e{number}"))


def metric(node, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", node.get("/metrics").text, re.M)
    return float(found.group(1)) if found else None


def verified(node, directory, policy):
    """What `pedigraph verify URL --policy` says: its exit code."""
    key = run("log", "vkey", "--data", node.data).stdout.decode().strip()
    return run("verify", node.url + "/ledger/default", "--vkey", key, "--policy", policy).returncode


def test_a_cosigned_checkpoint_satisfies_the_policy(tmp_path, peer):
    policy = policy_of(tmp_path, peer.vkey, peer.url + "/base/")
    with started(tmp_path, policy, "hold") as node:
        send(node)
        until(lambda: node.signed_size() == 1, "the checkpoint", alive=node.alive)
        send(node, 1)
        until(lambda: node.signed_size() == 2, "the next one", alive=node.alive)
        assert [(path, old, len(proof)) for path, old, proof, _ in peer.asked] == [
            ("/base/add-checkpoint", 0, 0),
            ("/base/add-checkpoint", 1, 1),
        ]
        assert peer.line(peer.asked[1][3]).decode() in node.checkpoint()
        assert verified(node, tmp_path, policy) == 0
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        assert verified(node, tmp_path, policy_of(stranger, STRANGER.vkey, peer.url)) == 5
        assert metric(node, 'pedigraph_witness_cosigned_entries{witness="W"}') == 2
        assert metric(node, 'pedigraph_witness_cosigned_timestamp_seconds{witness="W"}') == 1_700_000_000
        assert metric(node, "pedigraph_checkpoints_below_quorum") == 0


def test_a_card_says_how_many_cosigned_the_checkpoint_that_covers_it(tmp_path, peer):
    policy = policy_of(tmp_path, peer.vkey, peer.url)
    with started(tmp_path, policy, "hold") as node:
        image = digest(0xCA5D)
        node.accept(published("r.example/card:1", image), wait="visible")
        until(lambda: node.signed_size() == 1, "the checkpoint", alive=node.alive)
        card = node.json(f"/api/v1/artifacts/{image}/hover")
        assert (card["proof"]["index"], card["checkpoint"]) == (0, {"size": 1, "cosignatures": 1})


FAULTS = {
    "timeout": ("unreachable", lambda asked: None),
    "403": ("refused", lambda asked: (403, b"")),
    "404": ("unknown_log", lambda asked: (404, b"")),
    "500": ("status", lambda asked: (500, b"")),
    "garbage": ("garbage", lambda asked: (200, b"\xff" * 100)),
    "endless": ("garbage", lambda asked: (200, b"x" * 70_000)),
    "no size": ("garbage", lambda asked: (409, b"what\n")),
    "other key": ("signature", lambda asked: (200, STRANGER.line(asked[3]))),
    "other tree": ("signature", lambda asked: (200, OWN.line(asked[3].replace("\n1\n", "\n7\n")))),
}
OWN, STRANGER = Scripted(1), Scripted(2)


@pytest.mark.parametrize("mode", ["publish", "hold"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_witness_that_fails_is_done_without_or_waited_for(tmp_path, peer, fault, mode):
    kind, peer.script = FAULTS[fault]
    policy = policy_of(tmp_path, peer.vkey, peer.url)
    with started(tmp_path, policy, mode, timeout_ms=300) as node:
        send(node)
        until(lambda: metric(node, f'pedigraph_witness_failures_total{{witness="W",kind="{kind}"}}') > 0, kind, alive=node.alive)
        if mode == "publish":
            until(lambda: node.signed_size() == 1, "the checkpoint without a quorum", alive=node.alive)
            until(lambda: metric(node, "pedigraph_checkpoints_below_quorum") == 1, "the mark", alive=node.alive)
            assert "default is published without a quorum" in node.ready()[1]
            assert NAME not in node.checkpoint()
            assert verified(node, tmp_path, policy) == 5
        else:
            until(lambda: metric(node, "pedigraph_checkpoints_held") == 1, "the mark", alive=node.alive)
            assert "default is held until there is a quorum" in node.ready()[1]
            assert node.signed_size() == 0
        # It comes back: the same note gets its line, in both modes.
        peer.script = peer.cosign
        until(lambda: NAME in node.checkpoint(), "the cosignature", alive=node.alive)
        assert node.signed_size() == 1
        assert len({note.split("\n\n")[0] for _, _, _, note in peer.asked}) == 1
        assert verified(node, tmp_path, policy) == 0
        assert metric(node, "pedigraph_checkpoints_below_quorum") == metric(node, "pedigraph_checkpoints_held") == 0


def authority(directory):
    """A certificate authority of the test's own: its file, and what a server at 127.0.0.1 needs."""
    today = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, key, issuer, issuer_key, extension):
        named = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        builder = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(today - datetime.timedelta(days=1)).not_valid_after(today + datetime.timedelta(days=1))
        signed = builder.add_extension(extension, critical=True).sign(issuer_key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    own, peers = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    roots, chain = directory / "roots.pem", directory / "peer.pem"
    roots.write_bytes(certificate("test root", own, "test root", own, x509.BasicConstraints(ca=True, path_length=0)))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain.write_bytes(certificate("test peer", peers, "test root", own, names) + peers.private_bytes(*form))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return roots, context


def test_a_witness_is_asked_over_tls_if_its_authority_is_trusted(tmp_path):
    roots, context = authority(tmp_path)
    peer = Scripted(tls=context)
    try:
        policy = policy_of(tmp_path, peer.vkey, peer.url)
        # An authority that nobody trusts: it is not asked, as if it could not be reached.
        with started(tmp_path, policy, "hold") as node:
            send(node)
            failures = 'pedigraph_witness_failures_total{witness="W",kind="unreachable"}'
            until(lambda: metric(node, failures) > 0, "the refusal of its certificate", alive=node.alive)
            assert "certificate" in node.ready()[1].lower(), node.ready()[1]
            assert not peer.asked and node.signed_size() == 0
        with started(tmp_path, policy, "hold", env={"SSL_CERT_FILE": str(roots)}) as node:
            until(lambda: node.signed_size() == 1, "the checkpoint", alive=node.alive)
            assert peer.line(peer.asked[0][3]).decode() in node.checkpoint()
            assert verified(node, tmp_path, policy) == 0
    finally:
        peer.close()


def test_a_smaller_size_is_where_the_next_question_starts(tmp_path, peer):
    sizes = [2, 0]

    def script(asked):
        if peer.asked[-1][3].split("\n")[1] == "3" and sizes:
            return 409, f"{sizes.pop(0)}\n".encode()
        return peer.cosign(asked)

    with started(tmp_path, policy_of(tmp_path, peer.vkey, peer.url), "hold") as node:
        for size in (1, 2):
            send(node, size)
            until(lambda size=size: node.signed_size() == size, "the checkpoint", alive=node.alive)
        sizes[0] = 1
        peer.script = script
        send(node, 3)
        until(lambda: node.signed_size() == 3, "the checkpoint", alive=node.alive)
        assert [(old, len(proof)) for _, old, proof, _ in peer.asked] == [(0, 0), (1, 1), (2, 1), (1, 2), (0, 0)]


@pytest.mark.parametrize("answer", [(409, b"2\n"), (422, b"")], ids=["409 larger", "422"])
def test_another_history_stops_the_process(tmp_path, peer, answer):
    policy = policy_of(tmp_path, peer.vkey, peer.url)
    with started(tmp_path, policy) as node:
        peer.script = lambda asked: answer
        send(node)
        assert node.process.wait(timeout=30) == FORKED
        said = node.tail()
        assert "witness W says of log default" in said and "two histories" in said and "pedigraph restore" in said, said
        assert int((node.data / "ledger/logs/default/checkpoint").read_text().split("\n")[1]) == 0, "nothing was published"


def test_what_was_signed_is_taken_up_after_a_kill(tmp_path, peer):
    peer.script = lambda asked: None
    policy = policy_of(tmp_path, peer.vkey, peer.url)
    with started(tmp_path, policy) as node:
        send(node)
        until(lambda: peer.asked, "the question", alive=node.alive)
        assert (node.data / "ledger/logs/default/pending").read_text() == peer.asked[0][3], "durable before it left"
        node.kill()
        peer.script = peer.cosign
        node.start()
        until(lambda: node.signed_size() == 1, "the checkpoint", alive=node.alive)
        assert node.checkpoint() == peer.asked[0][3] + peer.line(peer.asked[0][3]).decode()


def test_a_policy_that_cannot_be_satisfied_is_refused(tmp_path, peer):
    policy = tmp_path / "policy"
    for text, words in [
        ("quorum none\n", "no witness with a URL"),
        (f"witness W {peer.vkey}\nquorum W\n", "URL"),
        ("what\n", "policy line 1"),
    ]:
        policy.write_text(text)
        done = run("up", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--witness-policy", policy)
        assert done.returncode == 2 and words in done.stderr.decode(), done.stderr


@pytest.fixture
def aics(tmp_path):
    """aics-witness with its files in a directory; a function starts it, told of a log."""
    if AICS == "none":
        pytest.skip("no Python of version 3.12 or newer: aics-witness needs it")
    if not AICS:
        missing("PEDIGRAPH_TEST_AICS_WITNESS is not set: use ./tests/run")
    listen = f"127.0.0.1:{free_port()}"
    config = tmp_path / "w.json"

    def call(*arguments):
        done = subprocess.run([AICS, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    said = call("init", "-c", config, "--name", "aics.example", "--listen", listen, "--db", tmp_path / "w.db", "--key-file", tmp_path / "w.key")
    running = []

    def serve(vkey):
        call("add-log", "-c", config, "--origin", vkey.split("+")[0], "--vkey", vkey)
        process = subprocess.Popen([AICS, "serve", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        running.append(process)

        def up():
            assert process.poll() is None
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"http://{listen}/", timeout=5) is not None

        until(up, "aics-witness")

    yield {"vkey": re.search(r"aics\.example\+[0-9a-f]{8}\+\S+", said).group(0).rstrip('",'), "url": f"http://{listen}", "serve": serve}
    for process in running:
        process.kill()
        process.wait()


def test_aics_witness_cosigns(tmp_path, aics):
    policy = policy_of(tmp_path, aics["vkey"], aics["url"])
    with started(tmp_path, policy, "hold") as node:
        send(node)
        until(lambda: metric(node, "pedigraph_checkpoints_held") == 1, "the held checkpoint", alive=node.alive)
        aics["serve"](run("log", "vkey", "--data", node.data).stdout.decode().strip())
        until(lambda: node.signed_size() == 1, "the checkpoint", alive=node.alive)
        for number in range(1, 300):
            send(node, number)
        until(lambda: node.signed_size() == 300, "the newest checkpoint", alive=node.alive)
        assert verified(node, tmp_path, policy) == 0
        # What is remembered is gone: it starts at 0 and the witness says where it is.
        node.stop()
        (node.data / "ledger/logs/default/witnesses").unlink()
        node.start()
        send(node, 300)
        until(lambda: node.signed_size() == 301, "the checkpoint", alive=node.alive)
        assert verified(node, tmp_path, policy) == 0


def test_aics_witness_sees_the_fork(tmp_path, aics):
    """The data directory goes back to an older copy, which the same key then continues otherwise."""
    policy = policy_of(tmp_path, aics["vkey"], aics["url"])
    with started(tmp_path, policy) as node:
        aics["serve"](run("log", "vkey", "--data", node.data).stdout.decode().strip())
        send(node)
        until(lambda: "aics.example" in node.checkpoint(), "the checkpoint", alive=node.alive)
        node.stop()
        old = tmp_path / "old"
        subprocess.run(["cp", "-r", node.data, old], check=True)
        node.start()
        for number in (1, 2):
            send(node, number)
        until(lambda: node.signed_size() == 3, "the checkpoint", alive=node.alive)
        node.stop()
        subprocess.run(["rm", "-r", node.data], check=True)
        old.rename(node.data)
        node.start()
        for number in (7, 8):
            with contextlib.suppress(requests.ConnectionError):
                send(node, number)
        assert node.process.wait(timeout=30) == FORKED
        assert "two histories" in node.tail()
