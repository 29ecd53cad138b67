// Buttons that copy what stands before them: the link to an answer, or a command.
// @ts-check
import { isAlone, shortcut } from "./keys.js";

/** How long a button says that it was done, milliseconds. */
const SAID_MS = 2_000;

/** What a button copies.
 * @param {Element} button */
function textOf(button) {
    const before = button.previousElementSibling;
    return before instanceof HTMLAnchorElement ? before.href : (before?.textContent ?? "");
}

/** Where a browser gives no clipboard to pages without TLS.
 * @param {string} text */
function copyFromField(text) {
    const field = document.createElement("textarea"), focused = document.activeElement;
    field.value = text;
    field.className = "unseen";
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
    return done;
}

/** @param {string} text @returns {Promise<boolean>} */
async function copied(text) {
    try {
        if (!navigator.clipboard) return copyFromField(text);
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        return copyFromField(text);
    }
}

/** On every page. */
export function copy() {
    const told = document.createElement("span");
    told.className = "unseen";
    told.setAttribute("role", "status");
    document.querySelector("footer")?.append(told);
    /** @param {HTMLElement} button */
    async function press(button) {
        const text = textOf(button), done = await copied(text), label = button.textContent;
        told.textContent = done ? `Copied: ${text}` : "The browser did not let it be copied: mark it and copy it by hand.";
        if (button.dataset.said) return;
        button.dataset.said = "true";
        button.textContent = done ? "Copied" : "Not copied";
        setTimeout(() => {
            button.textContent = label;
            delete button.dataset.said;
        }, SAID_MS);
    }
    document.addEventListener("click", (event) => {
        const button = event.target instanceof Element ? event.target.closest("button.copy") : null;
        if (button instanceof HTMLElement) void press(button);
    });
    const link = document.querySelector("footer a[rel=bookmark] + button.copy");
    if (!(link instanceof HTMLElement)) return;
    shortcut("y", "copy the link to this answer");
    document.addEventListener("keydown", (event) => {
        if (event.key === "y" && isAlone(event)) void press(link);
    });
}
