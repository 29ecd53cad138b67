"""What a new user tries first: every printed address answers, every printed command works."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import requests

from pedigraph import BINARY, environment, until


def urls(demo):
    return list(dict.fromkeys(url for line in demo.text.splitlines() for url in re.findall(r"https?://[^\s)]+", line)))


def test_prints_its_address_soon(demo, figure):
    figure(f"demo: start to the printed URL: {demo.seconds_to_url:.2f} s")
    assert demo.seconds_to_url < 10


def test_every_printed_address_answers(demo):
    found = urls(demo)
    assert len(found) >= 4, demo.text
    for url in found:
        answer = requests.get(url, timeout=30)
        assert answer.status_code == 200, f"{url}: {answer.status_code} {answer.text[:300]}"
        assert answer.content


def test_every_printed_command_works(demo):
    commands = [line.strip() for line in demo.text.splitlines() if re.match(r"\s+\S*pedigraph (?!is)\w+ ", line)]
    assert len(commands) >= 3, demo.text
    path = f"{Path(BINARY).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=60, env=environment(PATH=path), check=False)
        assert done.returncode == 0, f"{command}: {done.returncode} {done.stderr.decode()}"
        assert done.stdout.strip(), command


def test_something_goes_on_happening(demo):

    def size():
        return requests.get(demo.url + "/api/v1/freshness", timeout=10).json()["head"]["size"]

    first = size()
    until(lambda: size() > first, "the trickle goes on", 30)


def test_the_story_is_complete(demo):
    intake = requests.get(demo.url + "/api/v1/intake", timeout=10).json()
    assert intake["byStatus"]["rejected"] >= 1 and intake["byStatus"]["accepted"] > 20
    prod = requests.get(demo.url + "/api/v1/environments/prod", timeout=10).json()
    assert len(prod["services"]) >= 2


def test_ends_and_leaves_nothing(demo):
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(timeout=30) == 0
    left = [path.name for path in demo.directory.iterdir() if path.name.startswith("pedigraph-demo")]
    assert left == []


def test_ends_while_it_begins_and_leaves_nothing(tmp_path):
    command = [BINARY, "demo", "--listen", "127.0.0.1:0"]
    demo = subprocess.Popen(command, env=environment(TMPDIR=str(tmp_path)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until(lambda: list(tmp_path.glob("pedigraph-demo*/ledger")), "its ledger is there", 30)
        demo.send_signal(signal.SIGINT)
        said = demo.communicate(timeout=90)[1].decode()
    finally:
        demo.kill()
    assert demo.returncode == 0, said
    assert not list(tmp_path.glob("pedigraph-demo*")), said
