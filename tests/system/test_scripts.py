"""The modules of the pages: checked as TypeScript reads their JSDoc, and each alone what it promises, in a real browser."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import conftest
import pedigraph
from pedigraph import until
from test_access import Tokens, guarded

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "query-api" / "src" / "pages" / "assets"
TSC = Path(os.environ.get("PEDIGRAPH_TEST_NPM", ROOT / ".cache" / "npm")) / "node_modules" / "typescript" / "bin" / "tsc"
STRICT = ("--noEmit", "--checkJs", "--allowJs", "--strict", "--noUnusedLocals", "--target", "es2023", "--module", "es2022",
          "--moduleResolution", "bundler", "--lib", "es2023,dom,dom.iterable")


def test_modules_have_types(figure):
    node = shutil.which("node")
    if node is None or not TSC.is_file():
        conftest.missing("no Node or no TypeScript (./tests/run fetches it with npm)")
    modules = sorted(MODULES.glob("*.js"))
    done = subprocess.run([node, TSC, *STRICT, *modules], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[:3000]
    unchecked = [module.name for module in modules if "// @ts-check" not in module.read_text()]
    assert not unchecked, unchecked
    figure(f"modules: {len(modules)} of {sum(module.stat().st_size for module in modules)} bytes, without a fault of types")


@pytest.fixture
def page(browser, demo):
    """A tab on the demo; whatever goes wrong in it is a failure."""
    browser.base, browser.faults, browser.errors = demo.url, [], []
    opened = browser.tab()
    yield opened
    opened.close()
    assert not browser.faults + browser.errors, browser.faults + browser.errors


def tab_to(page, matches, most=400):
    """Presses Tab until the focus is on what a function of JavaScript says."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate(f"({matches})(document.activeElement)"):
            return
    pytest.fail(f"{page.url}: {most} times Tab, and nothing that {matches}")


def enter(page):
    with page.expect_navigation():
        page.keyboard.press("Enter")


def search(page, text, choose=None):
    """By the keyboard alone: the box, a text, and one of the candidates or what the box itself leads to."""
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type(text)
    if choose is not None:
        option = page.locator("#q-list [role=option]", has_text=choose).first
        option.wait_for()
        for _ in range(11):
            page.keyboard.press("ArrowDown")
            if page.locator(f"#{page.locator('#q').get_attribute('aria-activedescendant') or 'none'}").filter(has_text=choose).count():
                break
    enter(page)


def prove(page):
    """From any page with a proof to the entry, checked in the browser itself."""
    tab_to(page, "element => /^#\\d+$/.test(element.textContent)")
    enter(page)
    assert re.search(r"/entries/\d+$", page.url), page.url
    for _ in range(20):
        if page.locator("#way").count():
            break
        # The demo has just begun: its first checkpoint may still be to come, and the page says what to do.
        assert "look again in a moment" in page.locator("main").inner_text()
        page.wait_for_timeout(500)
        page.reload()
    page.locator("#verdict:is(.good, .warn, .bad)").wait_for()
    assert "Verified here" in page.locator("#verdict").inner_text(), page.locator("#verdict").inner_text()


def test_s1_from_the_canary_to_its_proof_by_keyboard(page, demo):
    page.goto(demo.url)
    search(page, "cart:2.3.0")
    assert "/artifacts/" in page.url or "/search" in page.url, page.url
    if "/search" in page.url:
        tab_to(page, "element => element.textContent.includes('cart:2.3.0')")
        enter(page)
    text = page.locator("main").inner_text()
    for hop in ("run", "commit", "tests"):
        assert hop in text.lower(), f"no {hop} in {text[:1000]}"
    prove(page)


def test_s2_from_the_advisory_to_what_runs_who_says_otherwise_and_the_proof_by_keyboard(page, demo):
    page.goto(demo.url)
    search(page, "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1")
    assert "invoices" in page.locator("main").inner_text()
    search(page, "CVE-2021-44228", choose="CVE-2021-44228")
    assert "/vulnerabilities/CVE-2021-44228" in page.url
    address = page.url
    tab_to(page, "element => /not.affected/i.test(element.textContent) && element.href.includes('/verdicts/')")
    enter(page)
    assert "Who says what" in page.locator("main").inner_text()
    page.go_back()
    assert page.url == address
    prove(page)


def test_the_box_lists_what_it_finds(page, demo):
    page.goto(demo.url)
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/resolve" in request.url else None)
    page.keyboard.press("/")
    page.keyboard.type("cart", delay=20)
    options = page.locator("#q-list [role=option]")
    options.first.wait_for()
    assert len(asked) == 1, "typed in one go, asked once"
    assert 1 <= options.count() <= 10
    box = page.locator("#q")
    assert box.get_attribute("aria-expanded") == "true" and box.get_attribute("role") == "combobox"
    page.keyboard.press("ArrowDown")
    assert page.locator("#q-list [aria-selected=true]").get_attribute("id") == box.get_attribute("aria-activedescendant")
    page.keyboard.press("ArrowUp")
    assert box.get_attribute("aria-activedescendant") is None, "back in the box"
    page.keyboard.press("Escape")
    assert box.get_attribute("aria-expanded") == "false" and box.input_value() == "cart"
    assert options.first.is_hidden()


def test_shortcuts_are_listed(page, demo):
    page.goto(demo.url)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    assert "search box" in dialog.inner_text()
    page.keyboard.press("Escape")
    assert dialog.count() == 0
    page.get_by_role("button", name="Shortcuts").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.keyboard.press("/")
    page.keyboard.type("?")
    assert page.locator("#q").input_value() == "?" and page.get_by_role("dialog").count() == 0


def test_the_link_to_an_answer_and_commands_are_copied(page, demo):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=demo.url)
    clipboard = lambda: page.evaluate("navigator.clipboard.readText()")
    page.goto(f"{demo.url}/environments/prod")
    link = page.locator("footer a[rel=bookmark]")
    page.get_by_role("button", name="Copy the link to this answer").click()
    page.get_by_role("status").filter(has_text="Copied: http").wait_for()
    assert clipboard() == demo.url + link.get_attribute("href") and "asOf=" in clipboard()
    index = re.search(r"asOf=(\d+)", clipboard())[1]
    newest = lambda: int(re.search(r"asOf=(\d+)", link.get_attribute("href"))[1])
    page.get_by_role("button", name="Copy the command").last.focus()
    page.keyboard.press("Enter")
    page.get_by_role("status").filter(has_text="Copied: pedigraph env prod").wait_for()
    assert clipboard() == "pedigraph env prod"
    until(lambda: newest() > int(index), "the link of what is shown, after a change", 60)
    page.keyboard.press("y")
    until(lambda: "asOf=" in clipboard(), "the key of the link", 5)
    page.goto(clipboard())
    assert link.get_attribute("href") in page.url, "the address of the same answer"


def test_what_the_browser_does_not_let_be_copied_is_said(page, demo):
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined}); document.execCommand = () => false;")
    page.goto(demo.url)
    page.get_by_role("button", name="Copy the link to this answer").click()
    page.get_by_role("status").filter(has_text="mark it and copy it by hand").wait_for()
    page.get_by_role("button", name="Copy the link").wait_for()


def checked(page, url):
    page.goto(url)
    verdict = page.locator("#verdict")
    until(lambda: not verdict.inner_text().startswith("Not checked in this browser"), "a verdict", 10)
    return verdict.get_attribute("class"), verdict.inner_text()


def swapped(text):
    """One letter of base64 is another one."""
    return ("B" if text[0] == "A" else "A") + text[1:]


def test_a_wrong_proof_does_not_match(page, demo):
    url = f"{demo.url}/entries/5"
    assert checked(page, url)[0] == "good"
    proof = page.request.get(f"{demo.url}/api/v1/entries/5/proof").text().split("\n")
    root = proof.index("") + 3
    wrong = {
        "a hash of the path": [*proof[:2], swapped(proof[2]), *proof[3:]],
        "a hash too few": [*proof[:2], *proof[3:]],
        "another index": [proof[0], "index 6", *proof[2:]],
        "another root": [*proof[:root], swapped(proof[root]), *proof[root + 1:]],
    }
    for what, lines in wrong.items():
        body = "\n".join(lines)
        page.route("**/proof", lambda route: route.fulfill(body=body))
        kind, text = checked(page, url)
        assert (kind, "Does not match" in text) == ("bad", True), f"{what}: {text}"
        page.unroute("**/proof")
    page.route("**/ledger/default/checkpoint", lambda route: route.fulfill(body="\n".join([proof[root - 2], proof[root - 1], swapped(proof[root]), ""])))
    assert checked(page, url)[0] == "bad", "another checkpoint of the same log"


def test_the_proof_follows_a_log_that_grows(page, demo):
    """The newest checkpoint is larger than the one that proves the entry, and continues it."""
    url = f"{demo.url}/entries/3"
    old = page.request.get(f"{demo.url}/api/v1/entries/3/proof").text()
    size = int(old.split("\n\n")[1].split("\n")[1])
    newest = lambda: int(page.request.get(f"{demo.url}/ledger/default/checkpoint").text().split("\n")[1])
    until(lambda: newest() > size, "the trickle of the demo", 30)
    page.route("**/proof", lambda route: route.fulfill(body=old))
    kind, text = checked(page, url)
    assert kind == "good" and f"size {size}" in text and "continues" in text, text


def subscribers(node):
    return int(re.search(r"^pedigraph_stream_subscribers (\d+)", node.get("/metrics").text, re.M)[1])


def hide(page, hidden):
    page.evaluate("""hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }""", hidden)


def test_a_page_follows_what_happens_and_rests_while_nobody_looks(browser, shared):
    browser.base, browser.faults, browser.errors = shared.url, [], []
    shared.accept(pedigraph.deployed("first", "r.example/first:1"), wait="visible")
    page = browser.tab()
    for path, name in (("/", "home"), ("/entries", "entries"), ("/on-call", "on-call"), ("/environments/staging", "staging")):
        page.goto(shared.url + path)
        page.evaluate("window.here = true")
        until(lambda: subscribers(shared) == 1, "a stream", 10)
        index = shared.accept(pedigraph.deployed(f"new-{name}", "r.example/new:1"), wait="visible")["index"]
        row = page.locator("tr.changed", has_text=f"#{index}").first
        row.wait_for()
        assert page.evaluate("window.here"), "it was loaded again"
        assert "●" in row.evaluate("row => getComputedStyle(row.firstElementChild, '::before').content"), "colour alone says it"
        hide(page, True)
        until(lambda: subscribers(shared) == 0, "no stream while it is hidden", 10)
        missed = shared.accept(pedigraph.deployed(f"missed-{name}", "r.example/missed:1"), wait="visible")["index"]
        hide(page, False)
        page.locator("tr", has_text=f"#{missed}").first.wait_for()
    page.goto(f"{shared.url}/environments/staging?asOf=0")
    time.sleep(2)
    assert subscribers(shared) == 0, "what was asked of a moment stays as it is"
    page.close()
    assert not browser.faults + browser.errors, browser.faults + browser.errors


def test_a_refused_stream_is_asked_for_less_and_less_often(browser, shared):
    browser.base = shared.url
    shared.accept(pedigraph.deployed("second", "r.example/second:1"), wait="visible")
    page, asked, loaded = browser.tab(), [], []
    page.route("**/subscribe*", lambda route: (asked.append(time.monotonic()), route.fulfill(status=503)))
    page.on("request", lambda request: loaded.append(request.url) if request.url == shared.url + "/" else None)
    page.goto(shared.url + "/")
    page.wait_for_timeout(14_000)
    assert 2 <= len(asked) <= 4, f"{len(asked)} times in 14 s"
    assert len(loaded) == 1, "a page that cannot follow is not loaded again"
    assert "not live" in page.locator("footer").inner_text()
    page.close()


def test_a_browser_signs_in_and_is_shut_out_with_its_token(browser, nodes, tmp_path):
    tokens = Tokens(tmp_path)
    writer, reader = tokens.new("writer", "events:write", "lineage:read"), tokens.new("reader", "lineage:read")
    node = guarded(nodes, tokens)
    send = lambda name: node.accept(pedigraph.deployed(name, f"r.example/{name}:1"), headers={"authorization": f"Bearer {writer}"}, wait="visible")
    send("cart")
    browser.base, browser.faults, browser.errors = node.url, [], []
    page = browser.tab()
    assert page.goto(f"{node.url}/environments/staging").status == 401
    page.get_by_label("Token").fill("pdg_wrong")
    page.get_by_label("Token").press("Enter")
    page.get_by_role("alert").wait_for()
    page.get_by_label("Token").fill(reader)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{node.url}/environments/staging")
    cookie = page.context.cookies()[0]
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and reader not in cookie["value"]
    assert page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]
    page.locator("footer", has_text="● live").wait_for()
    send("till")
    page.locator("tr.changed", has_text="till").first.wait_for()
    page.goto(f"{node.url}/account")
    assert "reader" in page.locator("main").inner_text()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{node.url}/sign-in")
    assert page.goto(node.url).status == 401
    page.get_by_label("Token").fill(reader)
    page.get_by_label("Token").press("Enter")
    page.wait_for_url(f"{node.url}/")
    page.locator("footer", has_text="● live").wait_for()
    tokens.remove("reader")
    send("gone")
    page.locator("footer", has_text="not live").wait_for()
    assert page.goto(node.url).status == 401
    assert reader not in node.tail(10_000) and cookie["value"] not in node.tail(10_000)
    page.close()
    strange = [fault for fault in browser.faults if not fault.startswith("401:")]
    assert not strange, strange
