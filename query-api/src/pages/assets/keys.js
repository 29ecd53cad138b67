// Keys of every page: `/` puts the cursor into the search box, `?` shows all shortcuts.
// @ts-check

/** What each key does; modules add theirs. @type {[string, string][]} */
const SHORTCUTS = [["/", "put the cursor into the search box"], ["?", "show this list"], ["Esc", "close a list, a card or this"]];

/** Adds to the list of shortcuts. @param {string} key @param {string} what */
export function shortcut(key, what) {
    SHORTCUTS.push([key, what]);
}

/** Whether keys are text where they are pressed.
 * @param {EventTarget | null} target */
function isWriting(target) {
    return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));
}

/** Whether a key alone was pressed, and not into a field: then it may be a shortcut.
 * @param {KeyboardEvent} event */
export function isAlone(event) {
    return !event.ctrlKey && !event.metaKey && !event.altKey && !isWriting(event.target);
}

/** @template {keyof HTMLElementTagNameMap} T @param {T} tag @param {string} [text] */
function element(tag, text) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    return made;
}

/** The dialog with the list. */
function dialog() {
    const shown = element("dialog"), heading = element("h2", "Shortcuts"), list = element("dl"), form = element("form");
    heading.id = "shortcuts";
    shown.setAttribute("aria-labelledby", heading.id);
    for (const [key, what] of SHORTCUTS) {
        const term = element("dt");
        term.append(element("kbd", key));
        list.append(term, element("dd", what));
    }
    form.method = "dialog";
    form.append(element("button", "Close"));
    shown.append(heading, list, form);
    shown.addEventListener("close", () => shown.remove());
    document.body.append(shown);
    shown.showModal();
}

/** For who has no key for it. */
function button() {
    const footer = document.querySelector("footer"), shown = element("button", "Shortcuts (?)");
    shown.type = "button";
    shown.className = "plain";
    shown.addEventListener("click", dialog);
    footer?.append(shown);
}

/** Listens to the keys of the page. */
export function keys() {
    button();
    document.addEventListener("keydown", (event) => {
        if (!isAlone(event)) return;
        const box = document.getElementById("q");
        if (event.key === "/" && box instanceof HTMLInputElement && !document.querySelector("dialog[open]")) {
            event.preventDefault();
            box.focus();
            box.select();
        }
        if (event.key === "?" && !document.querySelector("dialog[open]")) {
            event.preventDefault();
            dialog();
        }
    });
}
