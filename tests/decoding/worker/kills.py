"""Killing workers at random moments of real runs, and looking at everything each time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.decoding.worker.workers import Worked
from tests.waiting import until

Output = list[tuple[str, str | None, list[int]]]


@dataclass
class Kills:
    """Kills, losses and problems of one series."""

    kills: int = 0
    finished: int = 0
    """Sessions that came out, after their kills."""
    rounds_seen: int = 0
    """Rounds that somebody had seen before a kill."""
    rounds_lost: int = 0
    """Rounds of those that were not there after it, although their prompt had not begun again."""
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.finished} sessions finished, {self.rounds_seen} rounds seen before a kill, "
            f"{self.rounds_lost} lost, {len(self.problems)} inconsistencies"
        )


def kill_again_and_again(
    begin: Callable[[str], Worked],
    expected: Output,
    kills: int,
    rng: random.Random,
    beside: Callable[[Worked, int], None] = lambda session, kill: None,
) -> Kills:
    """Kill workers `kills` times, of one session after the other, each in the end to come out as `expected`.

    `beside` is called before each kill, such as to kill a dashboard too.
    """
    tally = Kills()
    session = begin("killed-0")
    while tally.kills < kills:
        session.work()
        before = session.now().rounds
        # From before the first round to some prompts further on, then any moment of a round.
        if rng.random() < 0.8:
            target = before + rng.randrange(80)
            until(lambda session=session, target=target: session.now().rounds >= target or not session.alive)  # type: ignore[misc]
        time.sleep(rng.random() * 0.02)
        if not session.alive:
            _finish(session, expected, tally)
            session = begin(f"killed-{tally.kills}-{tally.finished}")
            continue
        beside(session, tally.kills)
        events, seen = len(session.reader.events(session.id)), session.now().rounds
        if not session.killed_at_work():
            _finish(session, expected, tally)
            session = begin(f"killed-{tally.kills}-{tally.finished}")
            continue
        tally.kills += 1
        tally.rounds_seen += seen
        row = session.now()
        if (row.status, row.live) != ("interrupted", False) and row.recorded_status not in ("finished",):
            tally.problems.append(f"kill {tally.kills}: the session is {row.status}")
        tally.problems += [f"kill {tally.kills}: {problem}" for problem in session.problems()]
        # What had been seen is there, unless just then a half-done prompt began again.
        if row.rounds < seen and len(session.reader.events(session.id)) == events:
            tally.rounds_lost += seen - row.rounds
        if row.recorded_status == "finished":
            _finish(session, expected, tally)
            session = begin(f"killed-{tally.kills}-{tally.finished}")
    session.work()
    session.ended()
    _finish(session, expected, tally)
    return tally


def _finish(session: Worked, expected: Output, tally: Kills) -> None:
    tally.finished += 1
    if session.now().status != "finished":
        tally.problems.append(f"the end: {session.now().status}: {session.log_text()[-500:]}")
    if session.outputs() != expected:
        tally.problems.append(f"session {session.id} came out otherwise than without kills")
    tally.problems += session.problems()
    session.close()
