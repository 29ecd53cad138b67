"""The table of attacks: what each sends, which answers are right, and what bounds it."""

from collections.abc import Callable
from dataclasses import dataclass

ATTACKS = {}


@dataclass(frozen=True)
class Attack:
    name: str
    point: str  # of the list in docs/hostile.md
    sends: str
    right: str  # which answers are
    run: Callable  # given an Attacker; returns what is worth a line, fails when an answer is not right
    seconds: float = 60  # after which it counts as stuck
    config: str = ""  # the server's
    crash: bool = False  # afterwards the server is killed, not asked to end


def attack(point, sends, right, **more):
    """Puts a function into the table."""

    def put(run):
        ATTACKS[run.__name__] = Attack(run.__name__, point, sends, right, run, **more)
        return run

    return put
