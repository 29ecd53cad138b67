"""A real browser on our pages: what a visit to one shows, and everything that went wrong on the way."""

import os
from dataclasses import dataclass, field
from urllib.parse import urldefrag

import playwright.sync_api as playwright

WIDTHS = (1280, 375)
REDIRECTS_MAX = 5
TIMEOUT_MS = 15_000


@dataclass
class Visit:
    """One page as it stands after its loading."""

    url: str
    status: int = 0
    redirects: list = field(default_factory=list)
    title: str = ""
    heading: str = ""
    text: str = ""
    box: str = ""
    links: list = field(default_factory=list)
    forms: list = field(default_factory=list)
    faults: list = field(default_factory=list)


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, executable):
        self.driver = playwright.sync_playwright().start()
        # The sandbox of Chromium cannot be had as root.
        self.chromium = self.driver.chromium.launch(executable_path=executable, chromium_sandbox=os.getuid() != 0)
        self.base, self.faults, self.errors = "", [], []
        self.page = self.tab()

    def tab(self, **more):
        """A tab of its own, with its own cookies, whose faults are noted like those of the first."""
        page = self.chromium.new_page(**{"viewport": {"width": WIDTHS[0], "height": 800}, **more})
        page.set_default_timeout(TIMEOUT_MS)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.faults.append(f"page error: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)
        page.on("requestfailed", self._failed)
        page.on("response", self._response)
        return page

    def close(self):
        self.chromium.close()
        self.driver.stop()

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.errors.append((message.location["url"], message.text))

    def _dialog(self, dialog):
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        if not request.url.startswith((self.base + "/", "data:")):
            self.faults.append(f"external request: {request.url[:200]}")

    def _failed(self, request):
        # Whoever leaves a page cuts off its stream of changes, and what its modules were asking.
        if request.failure != "net::ERR_ABORTED" or request.resource_type not in ("fetch", "eventsource"):
            self.faults.append(f"failed: {request.url[:200]}: {request.failure}")

    def _response(self, response):
        if response.status >= 500 or (response.status >= 400 and not response.request.is_navigation_request()):
            self.faults.append(f"{response.status}: {response.url[:200]}")

    def open(self, url):
        """Goes to an address."""
        return self._visit(url, lambda: self.page.goto(url))

    def enter(self, text, selector="#q"):
        """Types a text into the box of the page that is open, and presses Enter."""

        def act():
            self.page.locator(selector).fill(text)
            return self._navigates(lambda: self.page.locator(selector).press("Enter"))

        return self._visit(self.page.url, act)

    def press(self, key):
        """Presses a key that leads to another page."""
        return self._visit(self.page.url, lambda: self._navigates(lambda: self.page.keyboard.press(key)))

    def click(self, locator):
        """Clicks on what leads to another page."""
        return self._visit(self.page.url, lambda: self._navigates(locator.click))

    def _navigates(self, act):
        with self.page.expect_navigation() as navigation:
            act()
        return navigation.value

    def _visit(self, url, act):
        self.faults, self.errors, visit = [], [], Visit(url)
        visit.faults = self.faults
        try:
            response = act()
        except playwright.Error as error:
            visit.faults.append(f"did not open: {error.message.splitlines()[0][:300]}")
            return visit
        visit.url, visit.status = self.page.url, response.status
        self._redirects(response.request, visit)
        self._look(visit)
        # Chromium repeats the status of the page itself on the console.
        own = response.url if visit.status >= 400 else None
        visit.faults += [f"console: {text}" for where, text in self.errors if where != own]
        return visit

    def _redirects(self, request, visit):
        while (request := request.redirected_from) is not None:
            visit.redirects.insert(0, request.url)
        chain = [*visit.redirects, visit.url]
        if len(set(chain)) < len(chain):
            visit.faults.append(f"redirects to itself: {chain}")
        if len(visit.redirects) > REDIRECTS_MAX:
            visit.faults.append(f"{len(visit.redirects)} redirects: {chain}")

    def _look(self, visit):
        seen = self.page.evaluate(LOOK)
        visit.title, visit.text, visit.box = seen["title"], seen["text"], seen["box"]
        visit.forms = seen["forms"]
        visit.links = list(dict.fromkeys(urldefrag(link).url for link in seen["links"]))
        if not visit.title.strip():
            visit.faults.append("no title")
        if len(seen["headings"]) == 1 and seen["headings"][0].strip():
            visit.heading = seen["headings"][0]
        else:
            visit.faults.append(f"not one h1 with a text: {seen['headings']}")
        odd = [link for link in seen["links"] if not link.startswith(("http://", "https://"))]
        visit.faults += [f"link that is none of the web: {link}" for link in odd]
        visit.faults += [f"id {name!r} twice" for name in seen["twice"]]
        # The width that the page was loaded at comes first.
        for width in sorted(WIDTHS, key=lambda width: width != self.page.viewport_size["width"]):
            if width != self.page.viewport_size["width"]:
                self.page.set_viewport_size({"width": width, "height": 800})
            if wide := self.page.evaluate(WIDE):
                visit.faults.append(f"wider than {width} px: {wide}")


LOOK = """() => {
    const all = selector => [...document.querySelectorAll(selector)];
    const ids = all("[id]").map(element => element.id);
    return {
        title: document.title,
        headings: all("h1").map(heading => heading.innerText),
        text: (document.querySelector("main") || document.body).innerText,
        box: (document.querySelector("#q") || {}).value || "",
        links: all("a[href]").map(link => link.href),
        forms: all("form").map(form => [form.action, form.method, ...[...form.elements].map(element => element.name)]),
        twice: ids.filter((id, at) => ids.indexOf(id) !== at),
    };
}"""

# How much wider the page is than the window, and the innermost element that makes it so.
WIDE = """() => {
    const root = document.documentElement, wide = root.scrollWidth - root.clientWidth;
    if (wide <= 0) return "";
    const out = [...document.body.querySelectorAll("*")].filter(element => !element.closest(".scroll, pre") &&
        element.getBoundingClientRect().left + Math.max(element.scrollWidth, element.offsetWidth) > root.clientWidth);
    return `${wide} px, ${out.length ? out.at(-1).outerHTML.slice(0, 200) : "no element"}`;
}"""
