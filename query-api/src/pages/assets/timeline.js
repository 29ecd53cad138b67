// The moment of an environment as a slider over the changes that are shown.
// @ts-check

/** On a page with a form for the moment. */
export function timeline() {
    const form = document.querySelector("form[data-timeline]");
    const field = form?.querySelector("input[name=at]");
    if (!(form instanceof HTMLFormElement) || !(field instanceof HTMLInputElement)) return;
    // Oldest first, each moment once.
    const marks = [...document.querySelectorAll("svg.marks [data-moment]")].reverse();
    /** @type {Map<string, string>} */
    const moments = new Map();
    for (const mark of marks) {
        const at = mark.getAttribute("data-moment") ?? "";
        moments.set(at, `${at.slice(0, 19).replace("T", " ")} UTC: ${mark.textContent?.trim() ?? ""}`);
    }
    if (moments.size < 2) return;
    const all = [...moments.keys()];
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = "0";
    slider.max = String(all.length - 1);
    const asked = new URLSearchParams(location.search).get("at");
    const at = asked ? all.findLastIndex((moment) => Date.parse(moment) <= Date.parse(asked)) : all.length - 1;
    slider.value = String(Math.max(at, 0));
    slider.setAttribute("aria-label", "Change");
    const said = document.createElement("output");
    const show = () => {
        const moment = all[Number(slider.value)] ?? "";
        said.textContent = moments.get(moment) ?? "";
        slider.setAttribute("aria-valuetext", said.textContent);
        return moment;
    };
    slider.addEventListener("input", () => {
        // The field has seconds: the second after the change shows it.
        const after = new Date(Math.floor(Date.parse(show()) / 1000) * 1000 + 1000);
        field.value = after.toISOString().slice(0, 19);
    });
    slider.addEventListener("change", () => form.requestSubmit());
    show();
    const box = document.createElement("div");
    box.className = "slider";
    box.append(slider, said);
    form.prepend(box);
}
