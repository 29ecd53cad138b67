// Keeps marked parts of a page up to date: one stream of changes, and the page fetched again when there are some.
// @ts-check

// Who only passes by needs no stream.
const BEGIN_MS = 1_000;
const REFRESH_MS = 1_000;
const RETRY_MS = 2_000;
const RETRY_MAX_MS = 60_000;
// The server gives a sign of life more often than that.
const SILENT_MS = 45_000;
const VIEWS = ["lineage", "components", "deployments", "runtime", "evidence", "incidents", "intake", "reset"];

/** @param {number} ms */
function span(ms) {
    return ms < 120_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`;
}

class Live {
    constructor() {
        this.title = document.title;
        /** The newest change that this page shows. */
        this.seen = document.querySelector("[data-as-of]")?.getAttribute("data-as-of") ?? "";
        /** @type {EventSource | null} */
        this.source = null;
        this.retryMs = RETRY_MS;
        this.timer = 0;
        this.refreshing = false;
        this.refreshAgain = false;
        this.ended = false;
        this.heardAt = Date.now();
        this.told = document.createElement("span");
        this.state = document.createElement("span");
    }

    begin() {
        this.told.className = "unseen";
        this.told.setAttribute("role", "status");
        document.querySelector("footer")?.append(this.state, this.told);
        document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
        window.addEventListener("pagehide", () => this.close());
        window.addEventListener("pageshow", (event) => event.persisted && this.open());
        window.setTimeout(() => this.open(), BEGIN_MS);
        window.setInterval(() => this.look(), 5_000);
    }

    open() {
        if (this.source || document.hidden || this.ended) return;
        const from = this.seen === "" ? "" : `?from=${encodeURIComponent(this.seen)}`;
        const source = new EventSource(`/api/v1/subscribe${from}`);
        this.source = source;
        source.addEventListener("open", () => this.heard());
        source.addEventListener("heartbeat", () => this.heard());
        source.addEventListener("error", () => this.lost());
        for (const view of VIEWS) source.addEventListener(view, (event) => this.changed(event));
    }

    close() {
        window.clearTimeout(this.timer);
        this.source?.close();
        this.source = null;
    }

    heard() {
        this.heardAt = Date.now();
        this.retryMs = RETRY_MS;
        this.state.textContent = "● live";
        this.behind(0);
    }

    /** Ended, refused or cut off: asked for again, each time after twice as long. */
    lost() {
        this.close();
        this.state.textContent = "○ not live, trying again";
        this.timer = window.setTimeout(() => this.open(), this.retryMs * (0.75 + Math.random() / 2));
        this.retryMs = Math.min(2 * this.retryMs, RETRY_MAX_MS);
    }

    /** What is silent for too long is lost, too. */
    look() {
        const silentMs = Date.now() - this.heardAt;
        if (document.hidden || this.ended || silentMs < SILENT_MS) return;
        if (this.source) this.lost();
        this.behind(silentMs);
    }

    /** @param {number} ms */
    behind(ms) {
        document.title = ms < 2_000 ? this.title : `(${span(ms)} behind) ${this.title}`;
    }

    /** @param {MessageEvent} event */
    changed(event) {
        this.heard();
        this.seen = event.lastEventId || this.seen;
        this.refresh();
    }

    async refresh() {
        this.refreshAgain = true;
        if (this.refreshing) return;
        this.refreshing = true;
        while (this.refreshAgain && !document.hidden && !this.ended) {
            this.refreshAgain = false;
            await this.load().catch(() => undefined);
            await new Promise((done) => window.setTimeout(done, REFRESH_MS));
        }
        this.refreshing = false;
    }

    async load() {
        const answer = await fetch(location.href, { headers: { accept: "text/html" } });
        if (answer.status === 401 || answer.status === 403) {
            this.ended = true;
            this.close();
            this.state.textContent = "○ not live: you are no longer signed in";
            return;
        }
        if (!answer.ok) return;
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        let changed = 0;
        for (const part of document.querySelectorAll("[data-live]")) {
            const name = CSS.escape(part.getAttribute("data-live") ?? "");
            const fresh = page.querySelector(`[data-live="${name}"]`);
            if (fresh) changed += swap(part, fresh);
        }
        const now = page.querySelector("[data-as-of]"), before = document.querySelector("[data-as-of]");
        if (now && before) before.replaceWith(now);
        const [link, other] = [document, page].map((of) => of.querySelector("footer a[rel=bookmark]"));
        link?.setAttribute("href", other?.getAttribute("href") ?? "");
        if (changed > 0) this.told.textContent = changed === 1 ? "1 row changed" : `${changed} rows changed`;
        this.behind(Number(answer.headers.get("pedigraph-lag-ms") ?? 0));
    }
}

/** What something says, with its times as they were written: how long ago they were is no change.
 * @param {Element} row */
function words(row) {
    const copy = /** @type {Element} */ (row.cloneNode(true));
    for (const time of copy.querySelectorAll("time")) time.textContent = time.getAttribute("datetime");
    return copy.textContent?.replace(/\s+/g, " ") ?? "";
}

/**
 * Puts a part in the place of what it was, and marks rows that are other ones; gives their number.
 * @param {Element} old @param {Element} fresh
 */
function swap(old, fresh) {
    const known = new Set([...old.querySelectorAll("tbody tr")].map(words));
    const rows = [...fresh.querySelectorAll("tbody tr")].filter((row) => !known.has(words(row)));
    if (rows.length === 0 && words(old) === words(fresh)) return 0;
    rows.forEach((row) => row.classList.add("changed"));
    const focused = document.activeElement instanceof HTMLAnchorElement && old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceWith(fresh);
    const again = focused === null ? undefined : [...fresh.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused);
    again?.focus({ preventScroll: true });
    return rows.length;
}

/** Begins where something on the page is to be kept up to date. */
export function live() {
    if (document.querySelector("[data-live]") && "EventSource" in window) new Live().begin();
}
