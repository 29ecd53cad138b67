"""System calls of the server, recorded or made to fail: strace (4.26 or newer) around it.

Strace runs beside its program, not above it, so the process that a test starts, signals and waits for is the server itself.
"""

import re
import shutil
import subprocess
from typing import NamedTuple

from conftest import missing
from pedigraph import until


class Call(NamedTuple):
    """One system call as it was entered."""

    thread: str
    name: str
    arguments: str
    injected: bool


LINE = re.compile(r"^(?P<pid>\d+)<(?P<thread>[^>]*)>\s+(?P<name>\w+)\((?P<arguments>.*)$")
RESUMED = re.compile(r"^(?P<pid>\d+)<(?P<thread>[^>]*)>\s+<\.\.\. (?P<name>\w+) resumed>(?P<arguments>.*)$")
INJECTED = "(INJECTED)"


def needed():
    """Skips where no process can be traced; fails where nothing may be skipped."""
    if not shutil.which("strace"):
        missing("no strace")
    if subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        missing("strace cannot trace here (ptrace is forbidden)")


def around(out, *options):
    """The command to put before the server's; `options` go to strace."""
    return ["strace", "-D", "-f", "-y", "-Y", "-s", "0", "-o", str(out), *map(str, options)]


def read(out):
    """The calls of a process that ended, in the order in which they were entered."""
    until(lambda: out.exists() and out.read_text().rstrip().endswith("+++"), f"the end of {out}", 30)
    found = []
    for line in out.read_text().splitlines():
        if entered := LINE.match(line):
            found.append(Call(entered["thread"], entered["name"], entered["arguments"], INJECTED in line))
        elif INJECTED in line and (left := RESUMED.match(line)):
            found.append(Call(left["thread"], left["name"], left["arguments"], True))
    return found
