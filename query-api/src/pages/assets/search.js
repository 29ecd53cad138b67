// While somebody types into the search box: what the text may name, to be chosen with arrows and Enter.
// @ts-check

const WAIT_MS = 150;
const SHOWN_MAX = 10;
const TEXT_MAX = 1_000;

/** @typedef {{type: string, id: string, label: string, href: string}} Candidate */

/**
 * What nobody sees, or what turns the writing of what stands beside it, is written out, as on pages.
 * @param {string} text
 */
function shown(text) {
    const hidden = /[\p{Cc}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
    return text.replace(hidden, (c) => `[U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

/** The list under the box (ARIA combobox with a listbox). */
class Suggestions {
    /** @param {HTMLInputElement} box */
    constructor(box) {
        this.box = box;
        this.list = document.createElement("ul");
        this.told = document.createElement("span");
        /** @type {Candidate[]} */
        this.candidates = [];
        this.active = -1;
        this.timer = 0;
        /** @type {AbortController | null} */
        this.asking = null;
    }

    begin() {
        const { box, list, told } = this;
        list.id = "q-list";
        list.className = "suggestions";
        list.setAttribute("role", "listbox");
        list.setAttribute("aria-label", "What it may be");
        list.hidden = true;
        told.className = "unseen";
        told.setAttribute("role", "status");
        box.setAttribute("role", "combobox");
        box.setAttribute("aria-autocomplete", "list");
        box.setAttribute("aria-controls", list.id);
        box.setAttribute("aria-expanded", "false");
        box.autocomplete = "off";
        box.form?.append(list, told);
        box.addEventListener("input", () => this.typed());
        box.addEventListener("keydown", (event) => this.key(event));
        box.addEventListener("blur", () => this.close());
        box.form?.addEventListener("submit", () => this.close());
        // The box keeps the focus, so that the list stays until the click is over.
        list.addEventListener("pointerdown", (event) => event.preventDefault());
    }

    typed() {
        this.stop();
        const text = this.box.value.trim();
        if (text === "" || text.length > TEXT_MAX) return this.close();
        this.timer = window.setTimeout(() => this.ask(text), WAIT_MS);
    }

    /** @param {string} text */
    async ask(text) {
        this.asking = new AbortController();
        const { signal } = this.asking;
        try {
            const answer = await fetch(`/api/v1/resolve?q=${encodeURIComponent(text)}`, { signal, headers: { accept: "application/json" } });
            if (!answer.ok) return this.close();
            const found = await answer.json();
            if (!signal.aborted) this.show(found.candidates);
        } catch {
            // Cut off by more typing, or no answer: the form works all the same.
        }
    }

    /** @param {Candidate[]} candidates */
    show(candidates) {
        this.candidates = candidates.filter((candidate) => /^\/(?!\/)/.test(candidate.href)).slice(0, SHOWN_MAX);
        this.active = -1;
        this.list.replaceChildren(...this.candidates.map((candidate, at) => this.option(candidate, at)));
        const some = this.candidates.length > 0;
        this.list.hidden = !some;
        this.box.setAttribute("aria-expanded", String(some));
        this.box.removeAttribute("aria-activedescendant");
        this.told.textContent = some ? `${this.candidates.length} found` : "Nothing found so far";
    }

    /** @param {Candidate} candidate @param {number} at */
    option(candidate, at) {
        const option = document.createElement("li"), kind = document.createElement("span"), label = document.createElement("span");
        option.id = `q-${at}`;
        option.setAttribute("role", "option");
        option.setAttribute("aria-selected", "false");
        kind.className = "chip";
        kind.textContent = candidate.type;
        label.textContent = shown(candidate.label);
        option.append(kind, " ", label);
        if (!candidate.label.includes(candidate.id)) {
            const id = document.createElement("small");
            id.textContent = shown(candidate.id);
            option.append(" ", id);
        }
        option.addEventListener("click", () => location.assign(candidate.href));
        return option;
    }

    /** @param {KeyboardEvent} event */
    key(event) {
        if (this.list.hidden || event.isComposing) return;
        const chosen = this.candidates[this.active];
        if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            this.move(event.key === "ArrowDown" ? 1 : -1);
        } else if (event.key === "Enter" && chosen) {
            this.close();
            location.assign(chosen.href);
        } else if (event.key === "Escape") {
            this.close();
        } else {
            return;
        }
        event.preventDefault();
    }

    /** One further, past the end to the box itself. @param {number} step */
    move(step) {
        const places = this.candidates.length + 1;
        this.active = ((this.active + 1 + step + places) % places) - 1;
        [...this.list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === this.active)));
        const option = this.list.children[this.active];
        if (option) this.box.setAttribute("aria-activedescendant", option.id);
        else this.box.removeAttribute("aria-activedescendant");
        option?.scrollIntoView({ block: "nearest" });
    }

    stop() {
        window.clearTimeout(this.timer);
        this.asking?.abort();
        this.asking = null;
    }

    close() {
        this.stop();
        this.list.hidden = true;
        this.active = -1;
        this.box.setAttribute("aria-expanded", "false");
        this.box.removeAttribute("aria-activedescendant");
        this.told.textContent = "";
    }
}

/** Makes the box of the page list what it finds. */
export function search() {
    const box = document.getElementById("q");
    if (box instanceof HTMLInputElement) new Suggestions(box).begin();
}
