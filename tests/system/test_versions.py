"""Lines of versions in a real browser: lanes, keys, cards and how fast they open, ten thousand rows, without scripts."""

import hashlib
import json
import re
import time
from datetime import datetime, timedelta
from urllib.parse import quote

import pytest
import requests

import pedigraph

LINE = 10_000
CARD_MS_P95 = 150
# Whatever else the machine does.
CARD_MS_BUSY = 1_000
# A frame at 60 Hz; and what it is at most, whatever else the machine does, which draws in software.
FRAME_MS = 16.7
FRAME_MS_BUSY = 250
NAMES = [
    "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "\u202egnp.exe", "🚀🧬", "x" * 900, "שלום עולם", "e\u0301\u200b",
]


def of(number, name="long"):
    return "sha256:" + hashlib.sha256(f"{name} {number}".encode()).hexdigest()


def version(number, name="long"):
    """The n-th version of a line; some are merges."""
    at = (datetime(2020, 1, 1) + timedelta(hours=number)).isoformat() + "Z"
    data = {"artifactDigest": of(number, name), "artifactRef": f"r.example/{name}:1.{number}.0", "kind": "container_image"}
    if number % 17 or number < 17:
        return pedigraph.cloudevent("io.pedigraph.artifact-published.v1", data, id_=f"{name}-{number}", time_=at)
    data["parentDigests"] = [of(number - 1, name), of(number - 3, name)]
    return pedigraph.cloudevent("io.pedigraph.artifact-packaged.v1", data, id_=f"{name}-{number}", time_=at)


def send(node, events):
    for first in range(0, len(events), 2_000):
        lines = "\n".join(json.dumps(event) for event in events[first:first + 2_000])
        answer = node.post(lines.encode(), "application/x-ndjson")
        assert answer.status_code < 300, answer.text[:500]
    node.wait_visible(120)


@pytest.fixture(scope="module")
def line(shared, browser):
    """A server with a long line, and the tab on it."""
    browser.base = shared.url
    send(shared, [version(number) for number in range(LINE)])
    return shared


def opened(browser, node, path):
    visit = browser.open(node.url + path)
    assert visit.status == 200 and not visit.faults, f"{path}: {visit.status} {visit.faults}"
    return browser.page


def at_row(page):
    """The version in whose row the focus is."""
    row = page.evaluate("document.activeElement.closest('.versions > ol > li')?.id ?? ''")
    return row.removeprefix("v-")


def test_keys_lead_from_row_to_row_to_parents_and_children(browser, line):
    page = opened(browser, line, f"/artifacts/{of(34)}")
    page.keyboard.press("j")
    assert at_row(page) == of(34)
    page.keyboard.press("j")
    assert at_row(page) == of(33)
    page.keyboard.press("k")
    page.keyboard.press("[")
    assert at_row(page) in (of(33), of(31))
    page.keyboard.press("]")
    parent = at_row(page)
    assert parent in (of(34), of(32), of(33))
    page.locator("#q").focus()
    page.keyboard.press("j")
    assert page.locator("#q").input_value() == "j", "keys are text where one writes"


def test_what_is_no_ancestor_is_muted(browser, line):
    page = opened(browser, line, f"/artifacts/{of(40)}/lanes")
    button = page.get_by_role("button", name="Mute what is not an ancestor")
    button.click()
    muted = page.locator("li.muted").evaluate_all("rows => rows.map(row => row.id.slice(2))")
    rows = page.locator(".versions > ol > li").count()
    assert of(41) in muted and of(39) not in muted and len(muted) < rows
    assert "lead to" in page.locator(".tools [role=status]").inner_text()
    button.click()
    assert page.locator("li.muted").count() == 0


def test_lanes_draw_each_parent_that_the_rows_name(browser, line):
    """A merge has a line to each side, and every row a sign."""
    page = opened(browser, line, f"/artifacts/{of(34)}/lanes")
    drawn = page.locator(".versions > ol > li").evaluate_all("rows => rows.map(row => row.querySelectorAll('circle').length)")
    assert drawn and set(drawn) == {1}
    merge = page.locator(f"[id='v-{of(34)}']")
    assert set(merge.get_attribute("data-parents").split()) == {of(33), of(31)}
    assert "Q" in merge.locator("path.parent").first.get_attribute("d"), "a bend"
    merge.locator("summary").click()
    assert "Parents" in merge.inner_text() and "Replay hash" in merge.inner_text()
    link = merge.get_by_role("link", name=re.compile("Compare with")).first
    visit = browser.click(link)
    assert visit.status == 200 and not visit.faults and visit.heading == "Compare"


CARDS = """rows => {
    const links = [...document.querySelectorAll(".versions > ol > li .head > a")].slice(0, rows);
    window.told = [];
    let begun = 0;
    const pointed = event => { if (links.includes(event.target.closest("a"))) begun = performance.now(); };
    document.addEventListener("pointerover", pointed, true);
    document.addEventListener("pedigraph:card", () => window.told.push(performance.now() - begun));
    return links.length;
}"""


def cards(browser, node, number):
    """How long cards take, from the moment of pointing, over a hundred rows, milliseconds; and what was asked for them."""
    page = opened(browser, node, f"/artifacts/{of(number)}/lanes?direction=up")
    asked = []
    listen = lambda request: asked.append(request.url) if request.url.endswith("/card") else None
    page.on("request", listen)
    count = page.evaluate(CARDS, 100)
    for n in range(count):
        row = page.locator(".versions > ol > li .head > a").nth(n)
        row.scroll_into_view_if_needed()
        page.mouse.move(1, 1)
        page.locator("#card").wait_for(state="detached")
        row.hover()
        page.locator("#card").wait_for()
    page.mouse.move(1, 1)
    page.remove_listener("request", listen)
    return sorted(page.evaluate("window.told")), asked


def test_a_card_opens_in_time(browser, line, figure):
    times, asked = cards(browser, line, 500)
    assert len(times) == len(asked) == len(set(asked)) == 100, "one request each"
    figure(f"browser: a card opens in {times[49]:.0f} ms (p95 {times[94]:.0f} ms, should {CARD_MS_P95}) over 100 rows, 60 ms of it waiting")
    assert times[94] < CARD_MS_BUSY, times


def test_ten_thousand_rows_scroll(browser, line, figure):
    page = opened(browser, line, f"/artifacts/{of(LINE - 1)}/lanes?direction=up")
    begun, rows = time.monotonic(), 0
    while rows < LINE and time.monotonic() - begun < 180:
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        page.wait_for_timeout(30)
        rows = page.locator(".versions > ol > li").count()
    seconds = time.monotonic() - begun
    ids = page.locator(".versions > ol > li").evaluate_all("rows => rows.map(row => row.id)")
    assert len(ids) == LINE == len(set(ids)), f"{len(ids)} rows, {len(set(ids))} of them once"
    assert page.locator("p.older").count() == 0 and not browser.faults
    frames = page.evaluate(FRAMES)
    median, p95 = frames[len(frames) // 2], frames[len(frames) * 95 // 100]
    figure(f"browser: {LINE} rows of a line loaded by scrolling in {seconds:.1f} s; frames while scrolling {median:.1f} ms (p95 {p95:.1f}), should {FRAME_MS}")
    assert median < FRAME_MS_BUSY, (median, p95)


# Two seconds of scrolling through the whole page, frame by frame.
FRAMES = """() => new Promise(done => {
    const times = [], high = document.documentElement.scrollHeight, frames = 120;
    let last = performance.now();
    const step = now => {
        times.push(now - last); last = now;
        scrollTo(0, high * times.length / frames);
        if (times.length < frames) requestAnimationFrame(step);
        else done(times.slice(1).sort((a, b) => a - b));
    };
    requestAnimationFrame(step);
})"""


def test_a_long_line_is_read_without_scripts(browser, line):
    context = browser.chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{line.url}/artifacts/{of(LINE - 1)}")
    page.get_by_role("link", name="Load older versions").click()
    first = page.locator(".versions > ol > li").evaluate_all("rows => rows.map(row => row.id)")
    page.get_by_role("link", name="Load older versions").click()
    second = page.locator(".versions > ol > li").evaluate_all("rows => rows.map(row => row.id)")
    assert min(len(first), len(second)) > 100 and set(first) & set(second) == {second[0]}, "they overlap by one"
    assert page.locator("kbd").first.is_hidden(), "keys that do nothing are not told"
    page.goto(f"{line.url}/artifacts/{of(5)}/card")
    assert "Proof" in page.locator(".card").inner_text()
    page.goto(f"{line.url}/compare?b={of(5)}")
    page.get_by_role("link", name=re.compile("its parent")).click()
    assert "Both come from" in page.locator("main").inner_text()
    context.close()


def test_a_card_stays_while_pointed_at_and_goes_on_escape(browser, line):
    page = opened(browser, line, f"/artifacts/{of(30)}")
    link = page.locator(".versions > ol > li .head > a").first
    link.hover()
    card = page.locator("#card")
    card.wait_for()
    text = card.inner_text()
    for part in ("Replay hash", "Proof", "leaf", "Created", "Source"):
        assert part in text, text
    card.hover()
    page.wait_for_timeout(400)
    assert card.count() == 1, "it stays while one points at it"
    page.keyboard.press("Escape")
    assert card.count() == 0
    page.mouse.move(1, 1)
    # By focus, and by a key.
    page.keyboard.press("j")
    card.wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-describedby')") == "card"
    page.keyboard.press("i")
    assert card.count() == 0
    page.keyboard.press("i")
    card.wait_for()
    page.mouse.move(1, 1)


def test_a_card_that_nobody_waits_for_is_not_asked_for(browser, line):
    page = opened(browser, line, f"/artifacts/{of(30)}")
    asked, ended = [], []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/card") else None)
    page.on("requestfailed", lambda request: ended.append(request.failure) if request.url.endswith("/card") else None)
    link = page.locator(".versions > ol > li .head > a").first
    # Away before the time is over: no request at all.
    page.evaluate("""link => {
        link.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
        link.dispatchEvent(new PointerEvent("pointerout", { bubbles: true, pointerType: "mouse" }));
    }""", link.element_handle())
    page.wait_for_timeout(200)
    assert asked == []

    page.route("**/card", lambda route: None)
    link.hover()
    page.wait_for_timeout(150)
    page.mouse.move(1, 1)
    page.wait_for_timeout(100)
    page.unroute("**/card")
    assert len(asked) == 1 and len(ended) == 1, (asked, ended)
    assert page.locator("#card").count() == 0
    browser.faults.clear()


def test_hostile_names_are_texts_in_lanes_cards_and_comparisons(browser, shared):
    browser.base = shared.url
    for number, name in enumerate(NAMES):
        data = {"artifactDigest": of(number, "hostile"), "artifactRef": f"r.example/hostile:1.{number}.0", "kind": "container_image",
                "parentDigests": [of(number - 1, "hostile")] if number else []}
        event = pedigraph.cloudevent("io.pedigraph.artifact-packaged.v1", data, source=name, time_=f"2026-04-0{number + 1}T00:00:00Z")
        shared.accept(event)
        event = pedigraph.deployed(name, "r.example/hostile:1", name, artifactDigest=of(number, "hostile"), actor=name, reason=name)
        shared.post(event, pedigraph.CLOUDEVENT)
    shared.wait_visible()
    faults = []
    last = of(len(NAMES) - 1, "hostile")
    pair = f"a={of(0, 'hostile')}&b={last}"
    paths = [f"/artifacts/{last}", f"/artifacts/{last}/lanes", f"/artifacts/{last}/card", *(f"/compare?{pair}&tab={tab}" for tab in ("inputs", "deployments"))]
    paths += [f"/compare?a={quote(name)}&b={quote(name)}x" for name in NAMES]
    environments = requests.get(f"{shared.url}/api/v1/environments?pageSize=1000", timeout=30).json()["environments"]
    paths += [f"/environments/{quote(row['environment'], safe='')}" for row in environments if row["environment"] in NAMES]
    for path in paths:
        visit = browser.open(shared.url + path)
        faults += [f"{path[:80]}: {fault}" for fault in ([f"status {visit.status}"] if visit.status != 200 else []) + visit.faults]
    assert not faults, "\n".join(faults)[:4000]
    page = opened(browser, shared, f"/artifacts/{last}")
    page.locator(".versions > ol > li .head > a").first.hover()
    page.locator("#card").wait_for()
    assert not browser.faults
    page.mouse.move(1, 1)


def test_a_slider_shows_an_environment_as_it_was(browser, shared):
    browser.base = shared.url
    for number in range(3):
        event = pedigraph.deployed("slid", f"r.example/slid:1.{number}", "slid-prod", time_=f"2026-05-0{number + 1}T00:00:00Z")
        shared.accept(event)
    shared.wait_visible()
    page = opened(browser, shared, "/environments/slid-prod")
    slider = page.get_by_role("slider", name="Change")
    slider.focus()
    with page.expect_navigation():
        page.keyboard.press("ArrowLeft")
    main = page.locator("main").inner_text()
    assert "slid:1.1" in main and "slid:1.2" not in main and "at=2026-05-02" in page.url, (page.url, main)
    visit = browser.click(page.get_by_role("link", name="Back to now"))
    assert "slid:1.2" in visit.text and not visit.faults
