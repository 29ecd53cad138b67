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
         "fjall": {"processor"}, "maud": {"query-api"}, "zip": {"query-api"}}
LINES_MAX = 60
SHARE = 0.90


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
    found = [(lines, f"{file.relative_to(ROOT)}:{first} {name}") for file in rust_files() for name, first, lines in functions(file.read_text())]
    if not found:
        pytest.skip("no functions yet")
    short = sum(lines <= LINES_MAX for lines, _ in found) / len(found)
    longest = "\n".join(f"{lines:5} {where}" for lines, where in sorted(found, reverse=True)[:15])
    assert short >= SHARE, f"only {short:.1%} of {len(found)} functions have at most {LINES_MAX} lines; the longest:\n{longest}"


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
