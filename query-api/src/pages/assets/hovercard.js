// A card beside a link to an artifact: what it is and what proves it. It opens by pointing, by focus and by `i`.
// @ts-check
import { isAlone, shortcut } from "./keys.js";
import { treat } from "./times.js";

/** How long one points before it opens, milliseconds. */
const DWELL_MS = 60;
/** How long it stays when one has left, so that one may go into it, milliseconds. */
const LEAVE_MS = 150;
/** How long a request may take, milliseconds. */
const PATIENCE_MS = 10_000;

/** @type {HTMLElement | null} */
let card = null;
/** The link whose card is open or on its way.
 * @type {HTMLAnchorElement | null} */
let of = null;
/** @type {AbortController | null} */
let asking = null;
let waiting = 0;

/** The link to an artifact's page that an element is or is in.
 * @param {EventTarget | null} target
 * @returns {HTMLAnchorElement | null} */
function linkOf(target) {
    const link = target instanceof Element ? target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement) || link.origin !== location.origin || link.closest(".card")) return null;
    return /^\/artifacts\/[^/]+$/.test(link.pathname) ? link : null;
}

/** The address of a link's card, at the moment of the link or of the page.
 * @param {HTMLAnchorElement} link */
function cardOf(link) {
    const address = new URL(`${link.pathname}/card`, location.origin);
    const [asked, here] = [new URLSearchParams(link.search), new URLSearchParams(location.search)];
    for (const name of ["at", "asOf"]) {
        const value = asked.get(name) ?? here.get(name);
        if (value) address.searchParams.set(name, value);
    }
    return address;
}

function close() {
    clearTimeout(waiting);
    asking?.abort();
    asking = null;
    of?.removeAttribute("aria-describedby");
    of = null;
    card?.remove();
    card = null;
}

/** Below its link, or above where there is no room.
 * @param {HTMLElement} shown
 * @param {HTMLAnchorElement} link */
function place(shown, link) {
    const at = link.getClientRects()[0] ?? link.getBoundingClientRect();
    const { clientWidth: wide, clientHeight: high } = document.documentElement;
    const below = at.bottom + shown.offsetHeight + 8 <= high || at.top < shown.offsetHeight + 8;
    const left = Math.max(8, Math.min(at.left, wide - shown.offsetWidth - 8));
    shown.style.setProperty("left", `${left + scrollX}px`);
    shown.style.setProperty("top", `${(below ? at.bottom + 4 : at.top - shown.offsetHeight - 4) + scrollY}px`);
}

/** @param {HTMLAnchorElement} link */
async function open(link) {
    const asked = new AbortController();
    asking = asked;
    const patience = setTimeout(() => asked.abort(), PATIENCE_MS);
    try {
        const answer = await fetch(cardOf(link), { signal: asked.signal, headers: { accept: "text/html" } });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const found = answer.ok ? page.querySelector("main .card") : null;
        if (of !== link || !(found instanceof HTMLElement) || !link.isConnected) return;
        const shown = document.importNode(found, true);
        shown.id = "card";
        shown.classList.add("open");
        shown.setAttribute("role", "tooltip");
        treat(shown);
        link.setAttribute("aria-describedby", "card");
        document.body.append(shown);
        card = shown;
        place(shown, link);
        shown.dispatchEvent(new CustomEvent("pedigraph:card", { bubbles: true }));
    } catch (fault) {
        // The link itself still works.
        if (!(fault instanceof DOMException && fault.name === "AbortError")) console.debug("no card", fault);
    } finally {
        clearTimeout(patience);
        if (asking === asked) asking = null;
    }
}

/** @param {HTMLAnchorElement} link
 * @param {number} after */
function wait(link, after) {
    clearTimeout(waiting);
    if (of === link) return;
    close();
    of = link;
    waiting = setTimeout(() => void open(link), after);
}

/** Closes soon, unless one comes back. A request whose answer nobody waits for ends now. */
function leave() {
    clearTimeout(waiting);
    if (card) waiting = setTimeout(close, LEAVE_MS);
    else close();
}

/** Listens on the page. */
export function hovercard() {
    shortcut("i", "open or close the card of an artifact");
    document.addEventListener("pointerover", (event) => {
        if (event.pointerType === "touch") return;
        const link = linkOf(event.target);
        const inside = event.target instanceof Element && event.target.closest("#card");
        if (link) wait(link, DWELL_MS);
        if (inside || (link && link === of && card)) clearTimeout(waiting);
    });
    document.addEventListener("pointerout", (event) => {
        const to = event.relatedTarget;
        const stays = to instanceof Element && (to.closest("#card") || linkOf(to) === of);
        if (of && !stays) leave();
    });
    document.addEventListener("focusin", (event) => {
        const link = linkOf(event.target);
        const seen = event.target instanceof Element && event.target.matches(":focus-visible");
        if (link && seen) wait(link, DWELL_MS);
        else if (of && !(event.target instanceof Element && event.target.closest("#card"))) close();
    });
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && of) close();
        if (event.key !== "i" || !isAlone(event)) return;
        const inRow = document.activeElement?.closest("li, tr")?.querySelector('a[href^="/artifacts/"]') ?? null;
        const link = linkOf(document.activeElement) ?? linkOf(inRow);
        if (link && link === of && card) close();
        else if (link) wait(link, 0);
    });
    addEventListener("pagehide", close);
}
