// Goes the way of an inclusion proof again, from the bytes of the leaf to the root that the checkpoint signs
// (RFC 6962, RFC 9162 §2.1): nothing that the server computed is believed.
// @ts-check

/** @typedef {{origin: string, size: number, root: Uint8Array}} Checkpoint */

/** @param {string} text */
function fromBase64(text) {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/** @param {string} text */
function fromHex(text) {
    return Uint8Array.from(text.match(/../g) ?? [], (digits) => parseInt(digits, 16));
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
    return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} kind 0 of a leaf, 1 of a node @param {Uint8Array[]} parts */
async function hash(kind, ...parts) {
    const bytes = new Uint8Array(1 + parts.reduce((sum, part) => sum + part.length, 0));
    bytes[0] = kind;
    let at = 1;
    for (const part of parts) {
        bytes.set(part, at);
        at += part.length;
    }
    return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** @param {number} n */
const half = (n) => Math.floor(n / 2);

/**
 * The nodes on the way of an inclusion proof (RFC 9162 §2.1.3.2); the last is the root if the proof is good.
 * @param {Uint8Array} leaf @param {number} index @param {number} size @param {Uint8Array[]} path
 */
async function climb(leaf, index, size, path) {
    let at = index, last = size - 1, node = leaf;
    const nodes = [];
    for (const next of path) {
        if (last === 0) throw new Error("the path is longer than the tree is high");
        if (at % 2 === 1 || at === last) {
            node = await hash(1, next, node);
            while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
        } else {
            node = await hash(1, node, next);
        }
        nodes.push(node);
        [at, last] = [half(at), half(last)];
    }
    if (last !== 0) throw new Error("the path ends before the root");
    return nodes;
}

/**
 * Whether a larger tree continues a smaller one (RFC 9162 §2.1.4.2).
 * @param {Checkpoint} old @param {Checkpoint} young @param {Uint8Array[]} hashes
 */
async function continues(old, young, hashes) {
    let at = old.size - 1, last = young.size - 1;
    while (at % 2 === 1) [at, last] = [half(at), half(last)];
    const path = at === 0 ? [old.root, ...hashes] : hashes;
    let [from, to] = [path[0], path[0]];
    if (from === undefined || to === undefined) return false;
    for (const next of path.slice(1)) {
        if (last === 0) return false;
        if (at % 2 === 1 || at === last) {
            [from, to] = [await hash(1, next, from), await hash(1, next, to)];
            while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
        } else {
            to = await hash(1, to, next);
        }
        [at, last] = [half(at), half(last)];
    }
    return last === 0 && hex(from) === hex(old.root) && hex(to) === hex(young.root);
}

/** @param {string} note @returns {Checkpoint} */
function checkpoint(note) {
    const [origin = "", size = "", root = ""] = note.split("\n");
    return { origin, size: Number(size), root: fromBase64(root) };
}

/** @param {string} address */
async function text(address) {
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok) throw new Error(`${address} answers ${answer.status}`);
    return answer.text();
}

/** Index, path and checkpoint of a proof (C2SP tlog-proof). @param {string} proof */
function parts(proof) {
    const [head = "", note = ""] = proof.split(/\n\n([^]*)/);
    const [version, ...lines] = head.split("\n");
    if (version !== "c2sp.org/tlog-proof@v1") throw new Error("the proof has another version");
    const index = Number(lines.find((line) => line.startsWith("index "))?.slice(6) ?? NaN);
    const path = lines.filter((line) => !line.includes(" ")).map(fromBase64);
    return { index, path, signed: checkpoint(note) };
}

/** The same log, as the newest checkpoint has it. @param {string} tenant @param {Checkpoint} signed */
async function agrees(tenant, signed) {
    const newest = checkpoint(await text(`/ledger/${encodeURIComponent(tenant)}/checkpoint`));
    if (newest.origin !== signed.origin) throw new Error("the newest checkpoint is of another log");
    if (newest.size === signed.size) {
        if (hex(newest.root) !== hex(signed.root)) throw new Error("two checkpoints of one size have two roots");
        return newest;
    }
    const [old, young] = newest.size < signed.size ? [newest, signed] : [signed, newest];
    const answer = JSON.parse(await text(`/api/v1/proofs/consistency?from=${old.size}&to=${young.size}`));
    if (!(await continues(old, young, answer.hashes.map(fromHex)))) throw new Error("the newest checkpoint is no continuation of the one that proves this");
    return newest;
}

/** @param {HTMLElement} way */
async function check(way) {
    const leaf = await hash(0, fromBase64(way.dataset.leaf ?? ""));
    if (hex(leaf) !== way.dataset.leafHash) throw new Error("the leaf has another hash than the page says");
    const index = Number(way.dataset.index);
    const { index: proved, path, signed } = parts(await text(`/api/v1/entries/${index}/proof`));
    if (proved !== index) throw new Error("the proof is of another entry");
    const nodes = await climb(leaf, index, signed.size, path);
    nodes.forEach((node, at) => {
        const cell = way.querySelector(`[data-step="${at + 1}"]`);
        if (cell) cell.textContent = hex(node);
    });
    const root = nodes.at(-1) ?? leaf;
    if (hex(root) !== hex(signed.root)) throw new Error(`the path leads to ${hex(root)}, and the checkpoint signs ${hex(signed.root)}`);
    const newest = await agrees(way.dataset.tenant ?? "", signed);
    const further = newest.size > signed.size ? `, which the newest of size ${newest.size} continues` : "";
    return `✓ Verified here: this browser hashed the leaf, went the path and came to the root of the checkpoint of size ${signed.size}${further}. Who signed it is checked with the commands below.`;
}

/** Checks the proof that the page shows. */
export async function proof() {
    const way = document.getElementById("way"), verdict = document.getElementById("verdict");
    if (!way || !verdict) return;
    // Only a secure context has WebCrypto.
    if (!globalThis.crypto?.subtle) {
        verdict.textContent = "Not checked in this browser: it hashes for pages over https or on localhost only. The commands below check the same.";
        return;
    }
    try {
        verdict.textContent = await check(way);
        verdict.className = "good";
    } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        const unreached = error instanceof TypeError || / answers \d+$/.test(why);
        verdict.textContent = unreached ? `Not checked: ${why}. Load the page again.` : `✗ Does not match: ${why}. Tell the operator, and check with the commands below.`;
        verdict.className = unreached ? "warn" : "bad";
    }
}
