"""The pages in a real browser: each page of the demo, its links and forms, the box with everything one may type."""

import re
from collections import Counter, deque
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import requests

import browser as browser_module
import pedigraph

PAGES_MAX = 600
# Of pages that say the same of another moment, pair or part, so many are looked at; and of what hangs on one artifact.
ASKED_MAX = 3
PARTS_MAX = 15
UNKNOWN = {
    "digest": "sha256:" + "0badc0de" * 8,
    "short digest": "sha256:0badc0de0bad",
    "image": "registry.example/shop/nothing",
    "tag": "registry.example/shop/nothing:9.9",
    "commit": "0badc0de" * 5,
    "purl": "pkg:npm/never-heard-of@1.0.0",
    "vulnerability": "CVE-1999-99999",
    "service": "no-such-service",
    "environment": "no-such-environment",
    "run": "no-such-run-1",
}
# How the box names what it takes: each word of its placeholder and its label is of one kind.
WORDS = {
    "digest": r"digest",
    "image": r"image",
    "tag": r"tag\b|\w:v?\d",
    "commit": r"commit",
    "purl": r"package|purl|pkg:",
    "vulnerability": r"CVE|GHSA|vulnerabilit",
    "service": r"service",
    "environment": r"environment|\bprod\b",
    "run": r"\bruns?\b",
}
HOSTILE = [
    "a/b", "?", "#", "&q=1", "%", "%2e%2e", "../../etc/passwd", "//other.test/x", "https://other.test/",
    "javascript:alert(1)", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>",
    "'; drop table entries; --", "${7*7}{{7*7}}", "a\\b", "@{",
    "prod@{soon}", "🚀🧬", "שלום עולם", "\u202egnp.exe", "e\u0301\u200b", "+", "a+b", "sha256:", "pkg:",
    "pkg:oci/%00", "CVE-", ":", "@", "x" * 4096,
]


def shown(text):
    """Characters that nobody sees, or that turn the writing, are written out."""
    return "".join(f"[U+{ord(c):04X}]" if "\u200b" <= c <= "\u200f" or "\u202a" <= c <= "\u202e" else c for c in text)


@pytest.fixture(scope="module")
def tab(browser, demo):
    browser.base = demo.url
    return browser


@pytest.fixture(scope="module")
def known(demo):
    """One value that the demo knows of each kind, and what the page at the end says of it."""

    def json(path):
        return requests.get(demo.url + "/api/v1" + path, timeout=30).json()

    cart = next(state for state in json("/environments/prod")["services"] if state["service"] == "cart")["running"][0]
    artifact = json(f"/artifacts/{cart['digest']}")
    scan = json("/entries?type=ScanCompleted&limit=1")["entries"][0]
    report = requests.get(f"{demo.url}/api/v1/entries/{scan['index']}/body", timeout=30).text
    vulnerability = re.search(r"CVE-\d+-\d+", report).group()
    purl = re.search(r"impact (pkg:\S+)", demo.text).group(1)
    return {
        "digest": (cart["digest"], cart["digest"]),
        "short digest": (cart["digest"][:19], cart["digest"]),
        "image": (cart["artifactRef"].rpartition(":")[0], f"{cart['artifactRef'].rpartition(':')[0]}:"),
        "tag": (cart["artifactRef"], cart["digest"]),
        "commit": (artifact["commit"]["id"], artifact["commit"]["id"]),
        "purl": (purl, purl.rpartition("/")[2]),
        "vulnerability": (vulnerability, vulnerability),
        "service": ("cart", "cart"),
        "environment": ("prod", "prod"),
        "run": (artifact["run"]["id"], artifact["run"]["id"]),
    }


def kind(url):
    """What pages have in common that differ in names, digests and moments alone."""
    parts = urlsplit(url)
    names = sorted(name if name != "tab" else f"tab={value}" for name, value in parse_qsl(parts.query))
    return (*parts.path.split("/")[1::2], *names)


def most(url):
    """How many pages of its kind are looked at."""
    parts = urlsplit(url)
    if parts.query and not parts.path.startswith("/components/"):
        return ASKED_MAX
    return PARTS_MAX if parts.path.count("/") > 2 else PAGES_MAX


@pytest.fixture(scope="module")
def crawled(tab, demo):
    """Every page that a link leads to, from the first one on, and what every other link answers; of kinds of which there
    is no end some pages."""
    newest = requests.get(demo.url + "/api/v1/freshness", timeout=30).json()["head"]["size"]
    waiting, seen, visits, others, looked = deque([demo.url + "/"]), set(), {}, {}, Counter()
    with requests.Session() as session:
        session.max_redirects = browser_module.REDIRECTS_MAX
        while waiting:
            url = waiting.popleft()
            entry = re.fullmatch(r".*/entries/(\d+)(/.*)?", urlsplit(url).path)
            # The demo goes on writing: its entries have an end, the newest of now.
            if url in seen or not url.startswith(demo.url + "/") or (entry and int(entry[1]) >= newest):
                continue
            seen.add(url)
            looked[kind(url)] += 1
            if looked[kind(url)] > most(url):
                continue
            answer = session.get(url, timeout=30)
            if not answer.headers["content-type"].startswith("text/html"):
                others[url] = answer
                continue
            visits[url] = visit = tab.open(url)
            waiting.extend(visit.links)
            assert len(visits) <= PAGES_MAX, f"more than {PAGES_MAX} pages, such as {list(visits)[-3:]}"
    return visits, others


def told(faults):
    return f"{len(faults)} faults:\n" + "\n".join(str(fault)[:600] for fault in faults[:20])


def bad(visit, *statuses):
    """What is wrong with a visit that ought to have one of these statuses."""
    wrong = [] if visit.status in (statuses or (200,)) else [f"status {visit.status}"]
    return [f"{visit.url[:200]}: {fault}" for fault in wrong + visit.faults]


def test_every_page_is_whole(crawled, demo, figure):
    visits, _ = crawled
    shapes = {urlsplit(url).path.split("/")[1] for url in visits}
    assert {"", "artifacts", "environments", "entries", "freshness", "compare"} <= shapes, shapes
    parts = {kind(url)[1] for url in visits if len(kind(url)) > 1 and urlsplit(url).path.count("/") > 2}
    assert {"lanes", "card", "deltas", "verdicts"} <= parts, parts
    faults = [fault for visit in visits.values() for fault in bad(visit)]
    assert not faults, told(faults)
    figure(f"browser: {len(visits)} pages of the demo at {browser_module.WIDTHS} px")


def test_what_the_demo_names_are_pages(tab, demo):
    links = sorted(set(re.findall(r"http://\S+", demo.text)))
    assert len(links) >= 4, demo.text
    faults = [fault for link in links for fault in bad(tab.open(link))]
    assert not faults, told(faults)


def test_every_link_answers(crawled):
    _, others = crawled
    assert len(others) > 10
    wrong = {url: answer for url, answer in others.items() if answer.status_code != 200 or not answer.content}
    faults = [f"{url}: {answer.status_code} {answer.text[:200]}" for url, answer in wrong.items()]
    assert not faults, told(faults)


def test_every_form_leads_to_a_page(tab, crawled):
    places = {str(form): (url, at) for url, visit in crawled[0].items() for at, form in enumerate(visit.forms)}
    assert places, "no page has a form"
    faults = []
    for url, at in places.values():
        for value in ("", "prod"):
            tab.open(url)
            form = tab.page.locator("form").nth(at)
            for field in form.locator("input[type=search], input[type=text], input:not([type])").all():
                field.fill(value)
            faults += bad(tab.click(form.locator("[type=submit]")))
    assert not faults, told(faults)


def named(tab, demo):
    """The words by which the box says what it takes."""
    tab.open(demo.url + "/")
    box = tab.page.locator("#q")
    assert box.get_attribute("type") == "search" and box.get_attribute("name") == "q"
    words = f"{box.get_attribute('placeholder')},{tab.page.locator('label[for=q]').inner_text()}"
    return [word.strip() for word in re.split(r",|\bor\b", words) if word.strip()]


def test_the_box_names_only_what_is_tried_here(tab, demo):
    words = named(tab, demo)
    assert len(words) >= 4
    strange = [word for word in words if not any(re.search(pattern, word, re.I) for pattern in WORDS.values())]
    assert not strange, f"the box names {strange}: what should it find? add it to the kinds of this test"


def test_the_box_takes_its_own_examples(tab, demo):
    faults = []
    for word in named(tab, demo):
        tab.open(demo.url + "/")
        faults += bad(tab.enter(word))
    assert not faults, told(faults)


@pytest.mark.parametrize("kind", WORDS)
def test_the_box_finds_what_is_known(tab, demo, known, kind):
    text, expected = known[kind]
    tab.open(demo.url + "/")
    visit = tab.enter(text)
    assert not bad(visit), told(bad(visit))
    assert expected in visit.text, f"{visit.url}: {visit.text[:500]}"
    assert len(visit.redirects) <= 2, visit.redirects


def blind(demo, kind):
    """What runs with neither SBOM nor a statement on it, where its digest is known."""
    of = UNKNOWN[kind]
    path = f"/vulnerabilities/{of}/impact" if kind == "vulnerability" else f"/components/impact?purl={quote(of)}"
    answer = requests.get(f"{demo.url}/api/v1{path}", timeout=30).json()
    assert not answer["deployed"] and not answer["notDeployed"], answer
    return [row["digest"] for row in answer["unknown"] if "digest" in row]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_the_box_says_that_it_does_not_know(tab, demo, kind):
    tab.open(demo.url + "/")
    visit = tab.enter(UNKNOWN[kind])
    assert not bad(visit), told(bad(visit))
    assert UNKNOWN[kind].lower() in visit.text.lower(), f"{visit.url}: {visit.text[:500]}"
    # What runs and whose contents nobody knows is never counted as free of a package or vulnerability: it is listed.
    has_list = kind in ("purl", "vulnerability")
    listed = {f"{demo.url}/artifacts/{digest}" for digest in blind(demo, kind)} if has_list else set()
    strange = {link for link in visit.links if "/artifacts/" in link} - listed
    assert not strange, strange


def test_hostile_texts_are_texts(tab, demo):
    """Each typed into the box of the page that the one before led to."""
    faults, visit = [], tab.open(demo.url + "/")
    for text in HOSTILE:
        if visit.status == 0:
            tab.open(demo.url + "/")
        visit = tab.enter(text)
        faults += bad(visit, 200, 400)
        # A package and a vulnerability have a page of their own, whose head is the text.
        if not {text, shown(text)} & {visit.box, visit.heading}:
            faults.append(f"{text[:40]!r} is in the box as {visit.box[:40]!r}: {visit.text[:80]!r}")
    assert not faults, told(faults)


def test_no_more_than_the_box_takes(tab, demo):
    """What a browser would not let one type, by address."""
    for text in ("y" * 10_240, "🧬" * 2_560):
        visit = tab.open(f"{demo.url}/search?q={quote(text)}")
        assert not bad(visit, 400), told(bad(visit, 400))
        assert "4096" in visit.text, visit.text[:300]
    for text in ("", "%20%09", "a%00b", "a%0Ab", "%FF%FE", "%ED%A0%80"):
        visit = tab.open(f"{demo.url}/search?q={text}")
        assert not bad(visit, 200, 400), told(bad(visit, 200, 400))


def test_a_page_of_an_earlier_moment(tab, demo, known):
    changes = requests.get(f"{demo.url}/api/v1/environments/prod/changes", timeout=30).json()["changes"]
    indexes = [change["proof"]["index"] for change in changes]
    # What happened last, and what was heard of last: the topics come in any order.
    moments = {f"at={quote(changes[1]['at'])}": indexes[0], f"asOf={max(indexes) - 1}": max(indexes)}
    for query, later in moments.items():
        visit = tab.open(f"{demo.url}/environments/prod?{query}")
        assert not bad(visit), told(bad(visit))
        assert f"{demo.url}/entries/{later}" not in visit.links, visit.links
        assert query.startswith("asOf") or "At " in visit.text, visit.text[:300]
        json = tab.page.locator("footer a", has_text="JSON").get_attribute("href")
        assert query.partition("=")[0] + "=" in json, json
        assert requests.get(demo.url + json, timeout=30).status_code == 200
    for query in ("at=2001-01-01T00:00:00Z", "asOf=0", "at=rubbish", "asOf=-1", "asOf=999999", "at="):
        for path in ("/", "/environments/prod", f"/artifacts/{known['digest'][0]}", "/search?q=prod"):
            visit = tab.open(f"{demo.url}{path}{'&' if '?' in path else '?'}{query}")
            assert not bad(visit, 200, 400, 404), told(bad(visit, 200, 400, 404))


def test_pages_that_are_not_there(tab, demo):
    unknown = ("/artifacts/none", "/artifacts/sha256:" + "0" * 64, "/environments/none", "/environments/a%2Fb")
    for path in ("/nothing", "/entries/99999999", "/entries/x", *unknown):
        visit = tab.open(demo.url + path)
        assert not bad(visit, 400, 404), told(bad(visit, 400, 404))
        assert demo.url + "/" in visit.links, f"{path}: no way back"


def test_with_the_keyboard_alone(tab, demo):
    tab.open(demo.url + "/")
    for _ in range(5):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("document.activeElement.id") == "q":
            break
    assert tab.page.evaluate("document.activeElement.id") == "q", "five times Tab, and not in the box"
    outline = tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus is not seen"
    tab.page.keyboard.type("staging")
    visit = tab.press("Enter")
    assert not bad(visit), told(bad(visit))
    assert "staging" in visit.heading
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.getAttribute('href')") == "#content", "first Tab: past the head"
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.closest('main') !== null"), "not in the content"


def test_the_newest_entry_leads_nowhere_else(browser, shared):
    """Where nothing is written any more."""
    browser.base = shared.url
    visit = browser.open(shared.url + "/")
    assert not bad(visit), told(bad(visit))
    assert "Send a first event" in visit.text
    index = shared.accept(pedigraph.deployed("cart", "registry.example/cart:1"))["index"]
    shared.wait_visible()
    faults = []
    for path in ("/", "/freshness", "/environments/staging", f"/entries/{index}"):
        visit = browser.open(shared.url + path)
        faults += bad(visit)
        ours = [link for link in visit.links if link.startswith(shared.url)]
        faults += [f"{path}: {link}" for link in ours if shared.session.get(link, timeout=30).status_code != 200]
    assert not faults, told(faults)


def test_how_far_a_fix_is_rolled_out_is_a_bar_and_a_text(browser, shared):
    browser.base = shared.url
    vulnerability, package = pedigraph.rolled_out(shared, "77002")
    visit = browser.open(f"{shared.url}/vulnerabilities/{vulnerability}")
    assert not bad(visit), told(bad(visit))
    cells = browser.page.locator("td:has(progress[aria-label='Fix rolled out'])")
    bars = cells.locator("progress").evaluate_all("bars => bars.map(bar => [bar.value, bar.max, bar.getAttribute('aria-label')])")
    assert bars == [[3, 5, "Fix rolled out"]] * 2
    texts = cells.all_inner_texts()
    assert all("3 of 5 in 77002-prod" in text and "4 of 6 everywhere" in text for text in texts), texts
    by_environment = browser.page.locator("progress[aria-label='Fixed in 77002-prod']")
    assert by_environment.count() == 1 and "3 of 5 places" in visit.text, visit.text
    visit = browser.open(f"{shared.url}/components/impact?purl={quote(package)}")
    assert not bad(visit) and browser.page.locator("progress").count() == 0
    visit = browser.click(browser.page.get_by_role("link", name="Show how far fixes are rolled out"))
    assert not bad(visit), told(bad(visit))
    assert cells.count() == 2 and "free of it: r.example/77002:1.4.1" in visit.text
    assert f"pedigraph impact {package} --progress" in browser.page.locator("footer").inner_text()
