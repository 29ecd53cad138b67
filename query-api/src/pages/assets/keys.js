// `/` puts the cursor into the search box.
// @ts-check

/** Whether keys are text where they are pressed.
 * @param {EventTarget | null} target */
export function isWriting(target) {
    return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName));
}

/** Listens to the keys of the page. */
export function keys() {
    document.addEventListener("keydown", (event) => {
        if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isWriting(event.target)) return;
        const box = document.getElementById("q");
        if (box instanceof HTMLInputElement) {
            event.preventDefault();
            box.focus();
            box.select();
        }
    });
}
