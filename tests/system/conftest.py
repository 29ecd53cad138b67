"""Fixtures: servers in temporary directories, the broker, the browser, the corpora, and the figures printed at the end."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import browser as browser_module  # noqa: E402
import kafka as kafka_module  # noqa: E402
import pedigraph  # noqa: E402

STRICT = os.environ.get("CI") == "true"
FIGURES = []


def missing(what):
    """Skips with a reason; where nothing may be skipped it fails."""
    if STRICT:
        pytest.fail(f"{what} (CI=true: nothing is skipped)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session", autouse=True)
def binary():
    assert pedigraph.BINARY.exists(), f"{pedigraph.BINARY} is missing: cargo build --release"


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    if os.environ.get("PEDIGRAPH_TEST_QUICK") == "1":
        pytest.skip("--quick: no Kafka broker")
    if kafka_module.jars() is None:
        missing("no Java or no Apache Kafka jars (./tests/run fetches them with Maven)")
    started = kafka_module.Broker(tmp_path_factory.mktemp("kafka") / "node")
    try:
        yield started.start()
    finally:
        started.kill()


@pytest.fixture(scope="session")
def corpora():
    if not (pedigraph.CORPORA / "README.md").exists():
        missing(f"no corpora in {pedigraph.CORPORA} (set PEDIGRAPH_CORPORA)")
    return pedigraph.CORPORA


@pytest.fixture(scope="module")
def browser():
    """A real browser of one module of tests."""
    executable = shutil.which("chromium")
    if executable is None:
        missing("no Chromium (./tests/run installs Debian's)")
    opened = browser_module.Browser(executable)
    yield opened
    opened.close()


@pytest.fixture
def topic(request):
    """Names topics and groups of one test so that tests do not meet on the broker."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return lambda name: f"{stem}.{name}"


@pytest.fixture
def nodes(tmp_path):
    """Makes servers on directories of this test; ends them all, and shows their logs when the test failed."""
    made = []

    def make(name="data", start=True, **more):
        node = pedigraph.Node(tmp_path / name, **more)
        made.append(node)
        return node.start() if start else node

    yield make
    for node in made:
        if node.process is not None:
            node.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for the tests of a module that do not disturb each other."""
    node = pedigraph.Node(tmp_path_factory.mktemp("shared") / "data").start()
    yield node
    assert node.process.poll() is None, f"the server died: {node.process.returncode}\n{node.tail()}"
    node.kill()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo, told to its end; its live trickle goes on."""
    started = pedigraph.Demo(tmp_path_factory.mktemp("demo"))
    yield started
    started.kill()


@pytest.fixture(scope="session")
def figures():
    """Lines that are printed in the summary."""
    return FIGURES


@pytest.fixture
def figure(figures):
    """Keeps a line that is printed in the summary."""
    return figures.append


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    directory = item.funcargs.get("tmp_path")
    for log in sorted(directory.glob("*.log")) if directory else ():
        text = log.read_text(errors="replace").splitlines()[-30:]
        report.sections.append((f"log {log.name}", "\n".join(text)))


def pytest_terminal_summary(terminalreporter):
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
