// Lists of versions: keys for rows, muting what is no ancestor, and older rows while one scrolls.
// @ts-check
import { isAlone, shortcut } from "./keys.js";

/** Parts that are read in a row before somebody has to ask for more: twenty thousand rows. */
const PARTS_MAX = 200;

/** @param {Element} row */
const idOf = (row) => row.id.replace(/^v-/, "");
/** @param {Element} row */
const parentsOf = (row) => (row.getAttribute("data-parents") ?? "").split(" ").filter(Boolean);
/** @param {string} id */
const rowOf = (id) => document.getElementById(`v-${id}`);

/** @param {Element} list */
const rowsOf = (list) => [...list.querySelectorAll("ol > li")];

/** @param {Element | null | undefined} row */
function focusOn(row) {
    const link = row?.querySelector("a.mono");
    if (!(link instanceof HTMLElement)) return;
    link.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
}

/** @param {HTMLElement} list
 * @param {string} key
 * @returns {boolean} whether the key is one of ours */
function move(list, key) {
    const rows = rowsOf(list);
    const at = rows.findIndex((row) => row.contains(document.activeElement));
    const row = rows[at] ?? null;
    if (key === "j") focusOn(row ? rows[at + 1] : (list.querySelector("li[aria-current]") ?? rows[0]));
    else if (key === "k") focusOn(row ? rows[at - 1] : (list.querySelector("li[aria-current]") ?? rows[0]));
    else if (key === "[" && row) focusOn(parentsOf(row).map(rowOf).find(Boolean));
    else if (key === "]" && row) focusOn(rows.find((other) => parentsOf(other).includes(idOf(row))));
    else return key === "[" || key === "]";
    return true;
}

/** What a row comes from, itself included, as far as it is on the page.
 * @param {Element} from */
function ancestors(from) {
    const found = new Set([idOf(from)]);
    const waiting = [from];
    for (let row = waiting.pop(); row; row = waiting.pop()) {
        for (const parent of parentsOf(row)) {
            const above = rowOf(parent);
            if (above && !found.has(parent)) {
                found.add(parent);
                waiting.push(above);
            }
        }
    }
    return found;
}

/** @param {HTMLElement} list
 * @param {HTMLElement} tools */
function muting(list, tools) {
    const button = tools.querySelector("button");
    const status = tools.querySelector("[role=status]");
    if (!(button instanceof HTMLButtonElement)) return () => {};
    /** @type {Element | null} */
    let chosen = list.querySelector("li[aria-current]");
    const show = () => {
        const on = button.getAttribute("aria-pressed") === "true";
        const kept = on && chosen ? ancestors(chosen) : null;
        for (const row of rowsOf(list)) row.classList.toggle("muted", kept !== null && !kept.has(idOf(row)));
        const name = chosen?.querySelector("a.mono")?.textContent ?? "";
        if (status) status.textContent = kept ? `${kept.size} of ${rowsOf(list).length} rows lead to ${name}` : "";
    };
    button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        show();
    });
    list.addEventListener("focusin", (event) => {
        const row = event.target instanceof Element ? event.target.closest(".versions li") : null;
        if (row && row !== chosen) {
            chosen = row;
            show();
        }
    });
    return show;
}

/** Puts the next part below the list each time its end comes near.
 * @param {HTMLElement} list
 * @param {() => void} changed */
function older(list, changed) {
    let left = PARTS_MAX;
    let busy = false;
    /** @param {HTMLElement} place */
    async function load(place) {
        const link = place.querySelector("a[rel=next]");
        if (busy || left === 0 || !(link instanceof HTMLAnchorElement)) return;
        busy = true;
        left -= 1;
        place.setAttribute("aria-busy", "true");
        try {
            const answer = await fetch(link.href, { headers: { accept: "text/html" } });
            if (!answer.ok) throw new Error(`${answer.status}`);
            const page = new DOMParser().parseFromString(await answer.text(), "text/html");
            const rows = [...page.querySelectorAll(".versions > ol > li")].filter((row) => !document.getElementById(row.id));
            for (const row of rows) row.removeAttribute("aria-current");
            const part = document.createElement("ol");
            part.append(...rows.map((row) => document.importNode(row, true)));
            list.append(part);
            const next = page.querySelector("p.older");
            if (next && rows.length > 0) place.replaceChildren(...document.importNode(next, true).childNodes);
            else place.remove();
            changed();
        } catch {
            // The link stays: who follows it sees why.
            left = 0;
        } finally {
            busy = false;
            place.removeAttribute("aria-busy");
        }
        // A new watch tells once how it stands: what is still near the end is no change, and would not be told again.
        if (place.isConnected) {
            watch.unobserve(place);
            watch.observe(place);
        }
    }
    const place = document.querySelector("p.older");
    if (!(place instanceof HTMLElement)) return;
    const watch = new IntersectionObserver((seen) => {
        if (seen.some((entry) => entry.isIntersecting)) void load(place);
    }, { rootMargin: "100% 0px" });
    watch.observe(place);
}

/** On a page with a list of versions. */
export function lanes() {
    const list = document.querySelector(".versions");
    if (!(list instanceof HTMLElement)) return;
    for (const hidden of document.querySelectorAll(".legend .keys, .tools[hidden]")) hidden.removeAttribute("hidden");
    const tools = document.querySelector(".tools:has([data-mute])");
    const changed = tools instanceof HTMLElement ? muting(list, tools) : () => {};
    older(list, changed);
    shortcut("j k", "the next version of the list, the one before");
    shortcut("[ ]", "its parent, its child");
    document.addEventListener("keydown", (event) => {
        if (!isAlone(event)) return;
        if (["j", "k", "[", "]"].includes(event.key) && move(list, event.key)) event.preventDefault();
    });
}
