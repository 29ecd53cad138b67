"""Clients that do not read: the server answers others, says how it is, and ends when it is asked to."""

import json
import socket
import time
from urllib.parse import urlsplit

import pytest
import requests
from pedigraph import deployed, digest, until

READERS = 300
DEAF = 400
STOP_SECONDS = 14  # ten for requests that are open, and some for what is closed afterwards


def talk(node, text):
    """A connection that has said something and reads nothing; small buffers, so that little of an answer is taken."""
    where = urlsplit(node.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((where.hostname, where.port))
    client.sendall(text.encode())
    return client


def request(node, path):
    return f"GET {path} HTTP/1.1\r\nHost: {urlsplit(node.url).netloc}\r\n\r\n"


def answered(node, path, seconds):
    begun = time.monotonic()
    answer = requests.get(node.url + path, timeout=30)
    return answer.status_code == 200 and time.monotonic() - begun < seconds


def metric(url, name):
    return metric_of(requests.get(f"{url}/metrics", timeout=30), name)


def metric_of(answer, name):
    lines = answer.text.splitlines()
    return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name} "))


@pytest.fixture
def node(nodes):
    return nodes("serving", options=("--probe-listen", "127.0.0.1:0"))


def test_slow_readers_of_bodies_stop_neither_others_nor_the_stop(node):
    body = json.dumps(deployed("cart", "r.example/cart:1", "prod", artifactDigest=digest(7))).encode()
    index = node.accept(body + b" " * (8 << 20), wait="visible")["index"]
    held = [talk(node, request(node, f"/api/v1/entries/{index}/body")) for _ in range(READERS)]
    until(lambda: metric(node.url, "pedigraph_http_bodies") >= 200, "downloads that wait for their clients", 30, node.alive)
    for path in ("/livez", "/readyz", "/api/v1/environments", f"/api/v1/entries/{index}"):
        assert answered(node, path, 5), path
    begun = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - begun < STOP_SECONDS
    for client in held:
        client.close()


def test_who_pipelines_without_reading_stops_nobody(node):
    held = [talk(node, request(node, "/openapi.json") * 200) for _ in range(DEAF)]
    for path in ("/livez", "/readyz", "/api/v1/environments"):
        assert answered(node, path, 5), path
    made = metric(node.url, 'pedigraph_http_requests_total{route="/openapi.json",method="GET",status="200"}')
    assert made < DEAF * 100, "answers are made one after the other, and only for who takes them"
    begun = time.monotonic()
    assert node.stop() == 0
    assert time.monotonic() - begun < STOP_SECONDS
    for client in held:
        client.close()


def unless_full(ask):
    """The answer; nothing where the server has no place for the connection yet: it says so, or closes it."""
    try:
        answer = ask()
    except requests.ConnectionError:
        return None
    if answer.status_code == 503:
        assert answer.json()["code"] == "OVERLOADED", answer.text
        return None
    return answer


def test_connections_leave_files_to_everything_else(nodes):
    """Where few files may be open there are fewer connections: 512 files are for the ledger, the views and Kafka."""
    node = nodes("few-files", wrapper=("prlimit", "--nofile=700:700"))
    held = [talk(node, "") for _ in range(400)]

    def few():
        """Whether it has no more than it may. One that made room for another is counted until it is closed."""
        metrics = unless_full(lambda: requests.get(f"{node.url}/metrics", timeout=30))
        return metrics and metric_of(metrics, "pedigraph_http_connections") <= 700 - 512 + 64

    until(few, "few connections", 30, node.alive)
    event = json.dumps(deployed("cart", "r.example/cart:1")).encode()
    posted = until(lambda: unless_full(lambda: node.post(event, wait="visible")), "another place", 30, node.alive)
    assert posted.status_code == 201, posted.text
    for client in held:
        client.close()


def test_who_is_told_to_end_right_after_the_start_ends_in_order(node):
    for _ in range(5):
        assert node.stop() == 0, node.tail()
        node.start()


def test_probes_have_a_listener_of_their_own(node):
    line = next(line for line in until(lambda: [line for line in node.tail(200).splitlines() if "probes on http" in line], "the line", 10))
    probes = line.split("probes on ")[1].strip()
    for path in ("/livez", "/readyz", "/metrics"):
        assert requests.get(probes + path, timeout=30).status_code == 200, path
    assert requests.get(f"{probes}/api/v1/environments", timeout=30).json()["code"] == "NOT_FOUND"
