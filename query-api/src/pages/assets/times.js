// Times as how long ago they were. In tables the exact ones keep their places, so no column moves. They are shown while
// one points at them or is in their row; in the zone of who looks, or in UTC. A page of a fixed moment shows exact times alone:
// "2 h ago" would not say before when, and the page is to read the same whenever it is opened.
// @ts-check

/** How often they are counted anew, milliseconds. */
const COUNT_MS = 20_000;
const KEY = "pedigraph-times";
const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
/** From each on, in units of which so many milliseconds are one. @type {[number, number, string][]} */
const UNITS = [[730 * DAY, 365.25 * DAY, "year"], [61 * DAY, 30.44 * DAY, "month"], [DAY, DAY, "day"], [HOUR, HOUR, "h"], [MINUTE, MINUTE, "min"]];

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const isFixed = ["at", "asOf"].some((name) => new URLSearchParams(location.search).has(name));
const asked = { exact: isFixed, utc: false };

/** How long ago something was, or in how long it will be.
 * @param {number} ms @returns {string} */
function distance(ms) {
    const [, unit, name] = UNITS.find(([from]) => Math.abs(ms) >= from) ?? [0, 0, ""];
    if (unit === 0) return "just now";
    const count = Math.floor(Math.abs(ms) / unit);
    const words = `${count} ${name.length > 1 && name !== "min" && count > 1 ? `${name}s` : name}`;
    return ms > 0 ? `${words} ago` : `in ${words}`;
}

const parts = new Intl.DateTimeFormat("en", {
    hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "longOffset",
});

/** In the zone of who looks: `2026-08-14 14:47:03+02`, `2026-08-14 18:17:03+05:30`.
 * @param {number} at */
function here(at) {
    const part = Object.fromEntries(parts.formatToParts(at).map(({ type, value }) => [type, value]));
    const offset = (part.timeZoneName ?? "").replace("GMT", "").replace(/:00$/, "") || "+00";
    const text = `${(part.year ?? "").padStart(4, "0")}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second}${offset}`;
    // As wide as the one in UTC, of which the place is.
    return span(offset.includes(":") ? "here long" : "here", text);
}

/** @param {string} name @param {string} text */
function span(name, text) {
    const made = document.createElement("span");
    made.className = name;
    made.textContent = text;
    return made;
}

/** @param {Element} time */
const momentOf = (time) => Date.parse(time.getAttribute("datetime") ?? "");

/** Treats the times in an element that are not treated yet.
 * @param {ParentNode} within */
export function treat(within) {
    const now = Date.now();
    for (const time of within.querySelectorAll("time[datetime]:not(:has(> .utc))")) {
        const at = momentOf(time);
        if (Number.isNaN(at)) continue;
        time.replaceChildren(span("ago", distance(now - at)), here(at), span("utc", time.textContent ?? ""));
    }
}

/** Counts anew. */
function count() {
    if (document.hidden || asked.exact) return;
    const now = Date.now();
    for (const ago of document.querySelectorAll("time > .ago")) {
        const words = distance(now - momentOf(/** @type {Element} */ (ago.parentElement)));
        if (ago.textContent !== words) ago.textContent = words;
    }
}

/** What was chosen on an earlier page; browsers may refuse to keep anything. */
function recall() {
    try {
        const kept = (localStorage.getItem(KEY) ?? "").split(" ");
        asked.utc = kept.includes("utc");
        asked.exact ||= kept.includes("exact");
    } catch {
        // Chosen anew on each page.
    }
}

function keep() {
    try {
        // A page of a fixed moment does not say what the others show.
        const before = (localStorage.getItem(KEY) ?? "").split(" ").includes("exact");
        const exact = isFixed ? before : asked.exact;
        localStorage.setItem(KEY, [exact ? "exact" : "", asked.utc ? "utc" : ""].join(" ").trim());
    } catch {
        // As above.
    }
}

function show() {
    document.documentElement.dataset.times = asked.exact ? "exact" : "ago";
    document.documentElement.dataset.zone = asked.utc ? "utc" : "here";
    count();
}

/** A button for one of the choices.
 * @param {"exact" | "utc"} choice @param {string} text */
function button(choice, text) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "plain";
    made.textContent = text;
    made.setAttribute("aria-pressed", String(asked[choice]));
    made.addEventListener("click", () => {
        asked[choice] = !asked[choice];
        made.setAttribute("aria-pressed", String(asked[choice]));
        keep();
        show();
    });
    return made;
}

function control() {
    const shown = document.createElement("span");
    shown.className = "times";
    shown.append(`Times in ${zone}`, " · ");
    if (zone !== "UTC") shown.append(button("utc", "in UTC"), " · ");
    if (isFixed) shown.append("exact, for the page is of a fixed moment");
    else shown.append(button("exact", "exact"));
    document.querySelector("footer")?.append(shown);
}

/** Begins: with the times that are here, and those that come later. */
export function times() {
    recall();
    show();
    treat(document);
    control();
    // What is put in is treated before it is painted.
    new MutationObserver((changes) => {
        if (changes.some(({ addedNodes }) => addedNodes.length > 0)) treat(document);
    }).observe(document.body, { childList: true, subtree: true });
    document.addEventListener("visibilitychange", count);
    setInterval(count, COUNT_MS);
}
