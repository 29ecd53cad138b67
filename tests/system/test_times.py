"""Times on pages: how long ago, the exact ones in two zones, and nothing that moves for it."""

import re

import pytest

import pedigraph
from pedigraph import until
from test_scripts import hide, page  # noqa: F401 (a fixture)

EXACT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
AGO = r"just now|(in )?\d+ (min|h|days?|months?|years?)( ago)?"
KABUL = {"timezone_id": "Asia/Kabul"}
SHIFTS = """() => new Promise(done => {
    let all = 0;
    new PerformanceObserver(list => { for (const entry of list.getEntries()) all += entry.value; }).observe({type: "layout-shift", buffered: true});
    setTimeout(() => done(all), 500);
})"""


def shown(locator):
    """What is seen of it."""
    return locator.evaluate_all("""times => times.map(time => [...time.children].filter(part => getComputedStyle(part).visibility === "visible" && getComputedStyle(part).display !== "none").map(part => part.textContent).join("|"))""")


@pytest.fixture
def far(browser, demo):
    """A tab of somebody four and a half hours ahead."""
    browser.base, browser.faults, browser.errors = demo.url, [], []
    opened = browser.tab(**KABUL)
    yield opened
    opened.close()
    assert not browser.faults + browser.errors, browser.faults + browser.errors


def test_times_are_how_long_ago_and_nothing_moves(browser, demo, far, figure):
    plain, berlin = browser.tab(java_script_enabled=False), browser.tab(timezone_id="Europe/Berlin")
    shifts = {}
    for path in ("/", "/entries", "/on-call", "/environments", "/freshness"):
        plain.goto(demo.url + path)
        written = plain.locator("main time").all_inner_texts()
        assert all(re.fullmatch(EXACT + " UTC", text) for text in written), written
        far.goto(demo.url + path)
        berlin.goto(demo.url + path)
        times = far.locator("main time")
        assert times.count() > 0 and all(re.fullmatch(AGO, text) for text in shown(times)), shown(times)
        shifts[path] = far.evaluate(SHIFTS)
        if path == "/entries":
            # In one go: the page is kept up to date.
            width = "() => document.querySelector('main td > time').getBoundingClientRect().width"
            before, after, near = (tab.evaluate(width) for tab in (plain, far, berlin))
            assert before == after == near, "a column is as wide as without scripts"
    plain.close()
    berlin.close()
    assert max(shifts.values()) < 0.01, shifts
    figure(f"times: layout shift at most {max(shifts.values()):.4f} on {len(shifts)} pages")


def test_the_exact_time_is_there_by_pointing_and_by_keys(demo, far):
    far.goto(f"{demo.url}/environments/prod")
    row = far.locator("main tr:has(td > time)").first
    time = row.locator("time")
    utc = time.locator(".utc").text_content()
    assert re.fullmatch(AGO, shown(time)[0])
    time.hover()
    assert re.fullmatch(EXACT + r"\+04:30", shown(time)[0]), shown(time)
    far.mouse.move(0, 0)
    row.locator("a").first.focus()
    assert re.fullmatch(EXACT + r"\+04:30", shown(time)[0]), shown(time)
    far.locator("#q").focus()
    far.get_by_role("button", name="in UTC").click()
    time.hover()
    assert shown(time) == [utc]


def test_zone_and_form_are_chosen_once(demo, far):
    far.goto(demo.url)
    assert "Times in Asia/Kabul" in far.locator("footer").inner_text()
    assert far.evaluate("localStorage.length") == 0, "nothing is kept before somebody chooses"
    exact, utc = far.get_by_role("button", name="exact"), far.get_by_role("button", name="in UTC")
    exact.click()
    assert all(re.fullmatch(EXACT + r"\+04:30", text) for text in shown(far.locator("main time")))
    utc.click()
    far.goto(f"{demo.url}/entries")
    assert exact.get_attribute("aria-pressed") == utc.get_attribute("aria-pressed") == "true"
    assert all(re.fullmatch(EXACT + " UTC", text) for text in shown(far.locator("main time")))
    exact.click()
    far.reload()
    assert all(re.fullmatch(AGO, text) for text in shown(far.locator("main time")))
    far.emulate_media(media="print")
    assert all(re.fullmatch(EXACT + " UTC", text) for text in shown(far.locator("main time")))


def test_a_page_of_a_fixed_moment_shows_exact_times(demo, far):
    for query in ("at=2h", "asOf=76"):
        far.goto(f"{demo.url}/environments/prod?{query}")
        times = shown(far.locator("main time"))
        assert times and all(re.fullmatch(EXACT + r"\+04:30", text) for text in times), times
        assert "exact, for the page is of a fixed moment" in far.locator("footer").inner_text()
    far.get_by_role("button", name="in UTC").click()
    far.goto(demo.url)
    assert re.fullmatch(AGO, shown(far.locator("main time"))[0]), "the choice of the form is not touched"


def test_times_that_come_later_are_treated_and_are_no_change(browser, shared):
    browser.base, browser.faults, browser.errors = shared.url, [], []
    digest = "sha256:" + "7" * 64
    shared.accept(pedigraph.deployed("first", "r.example/first:1", artifactDigest=digest), wait="visible")
    page = browser.tab()
    page.goto(f"{shared.url}/environments/staging")
    page.locator("footer", has_text="● live").wait_for()
    shared.accept(pedigraph.deployed("second", "r.example/second:1"), wait="visible")
    changed = page.locator("tr.changed", has_text="second")
    changed.first.wait_for()
    assert all(re.fullmatch(AGO, text) for text in shown(changed.locator("time")))
    assert page.locator("tr.changed", has_text="first").count() == 0, "how long ago it was is no change"
    page.close()
    assert not browser.faults + browser.errors, browser.faults + browser.errors


def test_a_card_shows_the_exact_time(demo, far):
    far.goto(f"{demo.url}/environments/prod")
    far.locator("main td a[href*='/artifacts/']").first.hover()
    times = far.locator("#card time")
    times.first.wait_for()
    assert all(re.fullmatch(EXACT + r"\+04:30", text) for text in shown(times)), shown(times)


def test_times_are_counted_anew(demo, far):
    far.clock.install()
    far.goto(demo.url)
    time = far.locator("main time").first
    before = shown(time)
    far.clock.fast_forward("03:00:00")
    until(lambda: shown(time) != before, "three hours later", 5)
    hide(far, True)
    hidden = shown(time)
    far.clock.fast_forward("03:00:00")
    assert shown(time) == hidden
    hide(far, False)
    assert shown(time) != hidden, "counted when it is looked at again"
