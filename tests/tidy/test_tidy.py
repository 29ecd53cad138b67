"""Rules that no compiler knows: which crate may know which, where large libraries live, headers, links, length."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Dependencies point one way (DESIGN §2): what a crate may know of ours. The root may know all.
FENCES = {
    "proto": set(),
    "ledger": set(),
    "processor": {"proto", "ledger"},
    "projector": {"proto", "ledger"},
    "query-api": {"proto", "ledger", "projector"},
}
# Each large library has one home. A crate that generates code or tests against it is no exception.
HOMES = {"rdkafka": {"processor"}, "sled": {"projector"}, "axum": {"query-api"}, "prost": {"proto"}, "prost-build": {"proto"}, "clap": {"."},
         "fjall": {"processor", "projector"}, "maud": {"query-api"}, "zip": {"query-api"}, "sapling-renderdag": {"query-api"}}
# Lines of the longest function, and how many at most nine of ten have.
LONGEST = 75
NINETY_PERCENT = 25
# Tests that were longer when the rule came; the list only shrinks.
LONGER_TESTS = {
    "ledger/tests/ledger/keys.rs: a_policy_and_a_proof_follow_the_chain",
    "projector/tests/projector/lineage.rs: bases_come_from_materials_annotations_layers_and_history",
    "processor/tests/decode.rs: work_sources_and_tests_of_cdevents_are_read_in_old_and_new_words",
    "processor/tests/decode.rs: every_rejection_has_its_code",
}
# Files that still match over events of several families at once; the list only shrinks.
LISTS_SEVERAL_FAMILIES = set()
# Files of a crate that import from each other in a circle; the list only shrinks.
KNOWN_CIRCLES = {
    "processor": {
        (
            "decode::cdevents", "decode::cloudevents", "decode::csaf", "decode::cyclonedx", "decode::detect",
            "decode::dsse", "decode::grype", "decode::intoto", "decode::oci", "decode::openvex", "decode::osv",
            "decode::own_events", "decode::spdx",
            "decode::table", "decode::trivy",
        ),
    },
}


def manifests():
    for crate in (".", *FENCES):
        yield crate, tomllib.loads((ROOT / crate / "Cargo.toml").read_text())


def dependencies(manifest, kinds=("dependencies", "dev-dependencies", "build-dependencies")):
    tables = [manifest, *manifest.get("target", {}).values()]
    return {name for table in tables for kind in kinds for name in table.get(kind, {})}


def tracked(*patterns):
    """Files of the repository, new ones too, without what git ignores."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
                            capture_output=True, check=True).stdout
    return [ROOT / name.decode() for name in sorted(listed.split(b"\0")) if name and (ROOT / name.decode()).is_file()]


def test_every_crate_is_fenced():
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["members"]
    assert set(workspace) == set(FENCES)


@pytest.mark.parametrize(("crate", "manifest"), [(c, m) for c, m in manifests() if c != "."])
def test_dependencies_point_one_way(crate, manifest):
    ours = {name.removeprefix("pedigraph-") for name in dependencies(manifest, ("dependencies", "build-dependencies")) if name.startswith("pedigraph-")}
    assert ours <= FENCES[crate], f"{crate} must not know {ours - FENCES[crate]}"


@pytest.mark.parametrize(("crate", "manifest"), list(manifests()))
def test_large_libraries_have_one_home(crate, manifest):
    astray = {name for name in dependencies(manifest, ("dependencies", "build-dependencies")) if name in HOMES and crate not in HOMES[name]}
    # Generated messages need the prost traits where they are defined, and nowhere else.
    assert not astray, f"{crate} must not depend on {astray}"


@pytest.mark.parametrize(("crate", "manifest"), list(manifests()))
def test_lints_are_the_workspace_s(crate, manifest):
    assert manifest.get("lints", {}).get("workspace") is True, crate


def rust_files():
    return tracked("*.rs")


def test_every_file_says_what_it_is():
    silent = [str(file.relative_to(ROOT)) for file in rust_files() if not file.read_text().lstrip().startswith(("//!", "#!/"))]
    assert not silent, silent


def code_only(text):
    """The source with comments, strings and character literals blanked, lines kept."""
    pattern = re.compile(
        r"""//[^\n]*|/\*.*?\*/|b?r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F]+\}|.)|[^'\\\n])'""", re.S
    )
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def functions(text):
    """(name, first line, lines) of every function with a body."""
    code = code_only(text)
    for found in re.finditer(r"\bfn\s+(\w+)", code):
        depth, at = 0, found.end()
        while at < len(code):
            char = code[at]
            if char in "([":
                depth += 1
            elif char in ")]":
                depth -= 1
            elif char == ";" and depth == 0:
                at = -1
                break
            elif char == "{" and depth == 0:
                break
            at += 1
        if at < 0 or at >= len(code):
            continue
        begin, braces = at, 0
        for at in range(begin, len(code)):
            braces += (code[at] == "{") - (code[at] == "}")
            if braces == 0:
                break
        first = code.count("\n", 0, found.start()) + 1
        yield found.group(1), first, code.count("\n", found.start(), at) + 1


def test_the_length_of_functions_is_measured_right():
    sample = 'fn a() { "}" }\nfn b(x: [u8; 3]) -> u8 {\n  // }\n  let c = \'{\';\n  x[0]\n}\ntrait T { fn d(&self); }\nfn e<\'a>(s: &\'a str) -> &\'a str {\n s }\n'
    assert [(name, lines) for name, _, lines in functions(sample)] == [("a", 1), ("b", 5), ("e", 2)]


def test_functions_are_short():
    found = sorted((lines, f"{file.relative_to(ROOT)}:{first} {name}") for file in rust_files() for name, first, lines in functions(file.read_text()))
    too_long = {re.sub(r":\d+ ", ": ", where) for lines, where in found if lines > LONGEST}
    assert too_long == LONGER_TESTS, f"functions of more than {LONGEST} lines: {too_long}"
    percentile = found[len(found) * 9 // 10][0]
    assert percentile <= NINETY_PERCENT, f"a tenth of {len(found)} functions has {percentile} lines or more, allowed are {NINETY_PERCENT}"


def modules(crate):
    """Path of modules, such as ("ask", "scope"), to file, for every file under a crate's src."""
    src = ROOT / crate / "src"
    found = {}
    for file in tracked(f"{crate}/src/*.rs" if crate != "." else "src/*.rs"):
        parts = list(file.relative_to(src).with_suffix("").parts)
        if parts[-1] in ("mod", "lib", "main"):
            parts.pop()
        found[tuple(parts)] = file
    return found


def leaves(text, prefix=()):
    """Every path of a use tree: `a::{b, c::d as e}` is a::b and a::c::d."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    for part in filter(None, parts):
        head, brace, rest = part.partition("{")
        names = tuple(name.strip() for name in re.sub(r"\s+as\s+\w+$", "", head.strip()).split("::") if name.strip())
        if brace:
            yield from leaves(rest.rstrip().removesuffix("}"), prefix + names)
        else:
            yield prefix + names


def imports(module, text):
    """Paths within the crate that a file names, from the crate's root: in `use` and in the midst of code."""
    code = code_only(text)
    paths = {leaf for found in re.finditer(r"\buse\s+([^;]+);", code) for leaf in leaves(found.group(1))}
    paths |= {tuple(found.group().split("::")) for found in re.finditer(r"\b(?:crate|super|self)(?:::\w+)+", code)}
    for path in paths:
        here = list(module)
        names = list(path)
        if names[0] == "crate":
            yield tuple(names[1:])
        elif names[0] in ("super", "self"):
            while names and names[0] in ("super", "self"):
                if names.pop(0) == "super":
                    here = here[:-1]
            yield tuple(here + names)


def without_tests(text):
    return text.split("#[cfg(test)]\nmod tests", 1)[0]


def import_graph(crate):
    """File to the files of its crate that it imports from; tests within files are left out."""
    known = modules(crate)
    graph = {}
    for module, file in known.items():
        targets = set()
        for path in imports(module, without_tests(file.read_text())):
            while path and path not in known:
                path = path[:-1]
            if path in known and path and path != module:
                targets.add(path)
        graph[module] = targets
    return graph


def circles(graph):
    """Strongly connected components of more than one file, each sorted."""
    def reach(start):
        seen, todo = set(), [start]
        while todo:
            for target in graph.get(todo.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
        return seen
    reached = {node: reach(node) for node in graph}
    return {tuple(sorted("::".join(other) for other in graph if other in reached[node] and node in reached[other]))
            for node in graph if node in reached[node]}


def test_circles_are_found():
    sample = {("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("b",)}, ("d",): {("a",)}}
    assert circles(sample) == {("b", "c")}
    text = "use super::{b::X, self as me, c::{d, e as f}};\nuse std::x;\nfn g() { crate::h::i() } // crate::no"
    assert set(imports(("a", "z"), text)) == {("a", "b", "X"), ("a",), ("a", "c", "d"), ("a", "c", "e"), ("h", "i")}


@pytest.mark.parametrize("crate", [".", *FENCES])
def test_no_new_import_circles(crate):
    """The list of known circles only shrinks: neither a new one, nor one that is gone and still listed."""
    assert circles(import_graph(crate)) == KNOWN_CIRCLES.get(crate, set())


# Rooms of the projector (DESIGN §2): what a folder may never name.
ROOMS = {"store": {"rows", "facts", "derived", "run", "ask"}, "rows": {"facts", "derived", "run", "ask"}, "facts": {"derived", "run", "ask"},
         "ask": {"derived", "run"}, "derived": {"run"}}


@pytest.mark.parametrize("room", list(ROOMS))
def test_rooms_of_the_projector(room):
    wrong = [f"{'::'.join(module)} names {'::'.join(path)}" for module, file in modules("projector").items() if module[:1] == (room,)
             for path in imports(module, file.read_text()) if path and path[0] in ROOMS[room]]
    assert not wrong, wrong


def families():
    """Name of an event to its family, as the contract declares them."""
    declared = (ROOT / "proto/src/fact.rs").read_text().split("\nevents! {", 1)[1].split("\n}\n", 1)[0]
    found = {}
    for family, events in re.findall(r"(\w+) \{(.*?)\}", declared, re.S):
        found |= {event: family for event in re.findall(r"(\w+) \"", events)}
    return found


def arms(code):
    """Alternatives of patterns: what stands between two arrows, as far as `Event::A(_) | Event::B(_)` goes."""
    return [re.findall(r"\bEvent::(\w+)", run) for run in re.findall(r"\bEvent::\w+\([^()]*\)(?:\s*\|\s*Event::\w+\([^()]*\))+", code)]


def test_no_match_lists_events_of_several_families():
    family = families()
    assert family["ServiceDeployed"] == "Deploy" and len(set(family.values())) >= 6
    mixed = []
    for file in rust_files():
        name = str(file.relative_to(ROOT))
        if name.startswith("proto/"):
            continue
        for events in arms(code_only(file.read_text())):
            if len({family[event] for event in events if event in family}) > 1:
                mixed.append(name)
    assert set(mixed) == LISTS_SEVERAL_FAMILIES, mixed


def anchors(text):
    """The names that a Markdown file's headings get."""
    heads = re.findall(r"^#+\s+(.*?)\s*$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_in_documents_exist():
    broken = []
    for file in tracked("*.md"):
        text = re.sub(r"```.*?```", "", file.read_text(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (file.parent / path).resolve() if path else file
            if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(there.read_text())):
                broken.append(f"{file.relative_to(ROOT)}: {target}")
    assert not broken, broken


def test_no_registry_hosts_and_no_machine_paths():
    """What is committed works on any machine: packages are named, not addressed."""
    hosts = ["crates" + ".io/api", "static.crates" + ".io", "pypi" + ".org", "files.python" + "hosted", "repo1.maven" + ".org", "repo.maven" + ".apache",
             "proxy.golang" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org"]
    paths = ["/home" + "/", "/root" + "/", "/work" + "/", "/Users" + "/"]
    found = []
    for file in tracked():
        if file.name == "Cargo.lock" or file.suffix in (".bin", ".png"):
            continue
        text = file.read_text(errors="replace")
        found += [f"{file.relative_to(ROOT)}: {word}" for word in hosts + paths if word in text]
    assert not found, found


def test_scripts_are_executable_and_strict():
    for name in ("tests/run", ".ci/run"):
        script = ROOT / name
        assert os.access(script, os.X_OK), name
        assert "set -euo pipefail" in script.read_text(), name


WIDTH_MAX = 120


def wide_lines(text):
    """Numbers of the lines of a Markdown text that are too wide, outside of code blocks and tables."""
    in_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code and not line.lstrip().startswith("|") and len(line) > WIDTH_MAX:
            yield number


def test_the_width_of_documents_is_measured_right():
    wide = "x" * (WIDTH_MAX + 1)
    sample = f"{wide}\n{wide[1:]}\n```\n{wide}\n```\n  - {wide}\n| {wide} |\n{'─' * WIDTH_MAX}\n"
    assert list(wide_lines(sample)) == [1, 6]


def test_documents_are_not_too_wide():
    wide = [f"{file.relative_to(ROOT)}:{number}" for file in tracked("*.md") for number in wide_lines(file.read_text())]
    assert not wide, wide


def test_the_map_fits_on_a_page():
    assert len((ROOT / "ARCHITECTURE.md").read_text().splitlines()) <= 250
