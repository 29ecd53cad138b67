"""Each kind of page as people see it: wide and narrow, light and dark, with scripts and without; and what axe says of it.

Screenshots stay in `.cache/log/screens/` of the repository: whoever changes a page looks at them."""

import os
import re
from collections import deque
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import playwright.sync_api as playwright
import pytest
import requests

import browser as browser_module
import conftest

ROOT = Path(__file__).resolve().parents[2]
SCREENS = ROOT / ".cache" / "log" / "screens"
AXE = Path(os.environ.get("PEDIGRAPH_TEST_NPM", ROOT / ".cache" / "npm")) / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (360, 1200, 1920)
PAGES_MAX = 250
# Beside what links lead to.
BESIDE = ("/search?q=no/such:thing", "/nothing", "/entries?status=rejected", "/entries?subject=nothing-of-this-name", "/sign-in",
          "/on-call?environment=prod&moment=soon", "/environments/prod?at=2h", "/overview?environment=staging")


def shape(url):
    """What pages of one kind have in common."""
    parts = urlsplit(url)
    words = parts.path.split("/")[1:]
    fixed = [word if at % 2 == 0 else "*" for at, word in enumerate(words)]
    return "/".join(fixed) + "".join(f"+{name}" for name in sorted(parse_qs(parts.query)))


@pytest.fixture(scope="module")
def screens(demo):
    """One page of each kind that links lead to, by kind."""
    waiting, seen, kinds, looked = deque([demo.url + "/", *re.findall(r"http://\S+", demo.text)]), set(), {}, 0
    with requests.Session() as session:
        while waiting and looked < PAGES_MAX:
            url = waiting.popleft()
            if url in seen or not url.startswith(demo.url) or shape(url).startswith(("api", "ledger", "assets")):
                continue
            seen.add(url)
            # A few of each kind are enough to find all kinds.
            if len([known for known in seen if shape(known) == shape(url)]) > 4:
                continue
            looked += 1
            answer = session.get(url, timeout=30)
            if answer.headers["content-type"].startswith("text/html"):
                kinds.setdefault(shape(answer.url), answer.url)
                waiting.extend(urljoin(url, link.replace("&amp;", "&")).partition("#")[0] for link in re.findall(r'href="([^"]+)"', answer.text))
    return kinds | {f"beside{path}": demo.url + path for path in BESIDE}


def name_of(kind):
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-") or "start"


def test_there_are_all_kinds_of_pages(screens):
    missing = {"", "search+q", "artifacts/*", "environments", "environments/*", "entries", "entries/*", "on-call", "overview", "freshness",
               "vulnerabilities/*", "account"} - {*screens, "search+q"}
    assert not missing, f"{missing} not among {sorted(screens)}"


@pytest.mark.parametrize("scripts", (True, False), ids=("scripts", "no-scripts"))
@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_every_screen_fits_and_says_nothing_on_the_console(browser, demo, screens, scheme, scripts, figure):
    SCREENS.mkdir(parents=True, exist_ok=True)
    browser.base = demo.url
    page, faults = browser.tab(color_scheme=scheme, java_script_enabled=scripts), []
    for kind, url in screens.items():
        browser.faults, browser.errors = [], []
        answer = page.goto(url)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            if wide := page.evaluate(browser_module.WIDE):
                faults.append(f"{url}: at {width} px wider by {wide}")
            suffix = "" if scripts else "-no-scripts"
            page.screenshot(path=SCREENS / f"{name_of(kind)}-{width}-{scheme}{suffix}.png", full_page=True)
        own = answer.url if answer.status >= 400 else None
        faults += [f"{url}: {fault}" for fault in browser.faults]
        faults += [f"{url}: console: {text}" for where, text in browser.errors if where != own]
    page.close()
    assert not faults, "\n".join(faults[:20])
    figure(f"screens: {len(screens)} kinds of pages at {WIDTHS} px, {scheme}, {'with' if scripts else 'without'} scripts, in {SCREENS}")


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_axe_finds_nothing_serious(browser, demo, screens, scheme, figure):
    if not AXE.is_file():
        conftest.missing("no axe-core (./tests/run fetches it with npm)")
    browser.base, axe, faults, less = demo.url, AXE.read_text(), [], 0
    for width in (360, 1200):
        page = browser.tab(color_scheme=scheme, viewport={"width": width, "height": 900})
        for url in screens.values():
            page.goto(url)
            page.evaluate(axe)
            for found in page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)"):
                if found["impact"] in ("serious", "critical"):
                    faults += [f"{url} at {width} px: {found['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}" for node in found["nodes"]]
                else:
                    less += 1
        page.close()
    assert not faults, f"{len(faults)}:\n" + "\n".join(faults[:12])
    figure(f"axe: nothing serious on {len(screens)} kinds of pages at 360 and 1200 px, {scheme}; {less} moderate or minor")
