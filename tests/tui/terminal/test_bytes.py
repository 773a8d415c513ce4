"""Bytes that the dashboard writes to a real terminal: people run it over slow lines for hours."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spectui.store.reading.reader import Reader
from spectui.tui.feeds.base import PRESENCE_SECONDS
from tests.bench.big_database import make
from tests.tui.replay import Recording
from tests.tui.screens.data import make_compared
from tests.tui.terminal.pty import Terminal, dashboard
from tests.waiting import until

BUDGET = 15_000
"""Bytes a second at `RATE` tokens a second, all panes live, 120x40, 256 colours."""
RATE = 60
FIRST, TOKENS = 150, 420
"""Tokens before the measurement, in which all panes fill, and within it."""
STEP_BUDGET = 12_000
"""Bytes a key that shows another round, which is another text, another tree and other figures."""
SCROLL_BUDGET = 6_000
"""Bytes a key while the cursor moves through a list that is longer than the screen, 120x40, 256 colours."""
PAGE_BUDGET = 8000
"""Bytes for a key that moves a page full of text by a line: 38 rows of 115 characters are written anew."""


REST = PRESENCE_SECONDS + 0.2
"""Seconds of silence in which every feed has looked at least once."""


def silence(terminal: Terminal, seconds: float, *, since: float = 0.0, of: str = "") -> None:
    """Until nothing has been written for so long, counted from `since` at the earliest."""
    until(
        lambda: time.monotonic() - max(terminal.last_write(), since) > seconds,
        what=lambda: f"{seconds} s of silence {of}",
    )


def at_once(look: Callable[[Any], None], cases: Iterable[Any]) -> None:
    """Every case in a thread of its own; fails as the first of them that does."""
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(look, case) for case in cases]:
            done.result()


@contextmanager
def replay(database: Path) -> Iterator[int]:
    """A run at `RATE`, written by another process; its session id."""
    command = [
        sys.executable,
        "-m",
        "tests.tui.replay",
        "--db",
        str(database),
        "--rate",
        str(RATE),
        "--prompts",
        "40",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().split()[0])
            assert process.poll() is None
        finally:
            process.kill()


def test_a_live_run_stays_within_the_budget(database: Path) -> None:
    with replay(database) as session, dashboard(database, session) as terminal, Reader(database) as reader:
        terminal.wait_for("accepted length")
        terminal.wait_for("tok/s")
        until(lambda: reader.session(session).tokens >= FIRST)
        tokens = reader.session(session).tokens
        begun = time.monotonic()
        until(lambda: reader.session(session).tokens >= tokens + TOKENS)
        spent = time.monotonic() - begun
        written = len(terminal.output(begun))
        arrived = reader.session(session).tokens - tokens
    # By the token, so that a machine too slow to replay at the rate measures the same.
    assert written / arrived * RATE <= BUDGET, f"{written / spent:.0f} bytes/s at {arrived / spent:.0f} tok/s"
    assert written / arrived > 10, "the run was not drawn"


QUIET = {
    "the session": (True, ""), "the list": (False, ""), "help": (True, "?"), "tree": (True, "2"),
    "charts": (True, "3"), "report": (True, "R"),
}  # fmt: skip
"""Screens by whether they are of a session, and the key that opens them."""


def test_screens_that_nothing_happens_on_write_nothing_more(database: Path, finished: Recording) -> None:
    """Each in a terminal of its own, all at once: most of it is waiting."""

    def watch(screen: str) -> None:
        of_session, key = QUIET[screen]
        with dashboard(database, finished.id if of_session else None) as terminal:
            terminal.wait_for("finished" if of_session else "quiet-heron")
            if key:
                silence(terminal, 0.5)
                pressed = terminal.press(key)
                until(lambda: terminal.last_write() > pressed, what=lambda: f"an answer to {key}")
            silence(terminal, REST, of=screen)

    at_once(watch, QUIET)


def test_a_chart_and_a_comparison_write_little_and_then_nothing(database: Path) -> None:
    make_compared(database)
    with dashboard(database) as terminal:
        terminal.wait_for("quiet-heron")
        terminal.press("Gmkmc")
        terminal.wait_for("outputs")
        terminal.wait_for("differ")
        silence(terminal, REST)
        pressed = terminal.press("\x1b[C")
        until(lambda: time.monotonic() - terminal.last_write() > 0.5 and bool(terminal.output(pressed)))
        assert len(terminal.output(pressed)) < 2_500, len(terminal.output(pressed))
        terminal.press("q")
        opened = terminal.press("\r")
        # Words of the session's screen and of the chart alone: a key pressed before they are there goes elsewhere.
        terminal.wait_for("target's own", since=opened)
        zoomed = terminal.press("z")
        terminal.wait_for("share of rounds", since=zoomed)
        terminal.wait_for("0 accepted", since=zoomed)
        silence(terminal, REST)
        pressed = terminal.press("\x1b[C")
        terminal.wait_for("1", since=pressed)
        silence(terminal, 0.5)
        assert len(terminal.output(pressed)) < 2_500, len(terminal.output(pressed))


def test_scrolling_a_list_costs_few_bytes_a_key(database: Path) -> None:
    """Two hundred sessions, a screen of some twenty: the cursor runs down through all of it, then back up."""
    make(database, 200)
    with dashboard(database) as terminal:
        terminal.wait_for("run-00200")
        until(lambda: time.monotonic() - terminal.last_write() > 1.0, what=lambda: "silence")
        begun = time.monotonic()
        keys = 0
        for key, name in (("j", "run-00080"), ("k", "run-00200")):
            # The summary's title says which session the cursor is on.
            for _ in range(120):
                pressed = terminal.press(key)
                keys += 1
                until(lambda pressed=pressed: terminal.last_write() > pressed)  # type: ignore[misc]
            terminal.wait_for(name, since=begun)
        written = len(terminal.output(begun))
    assert written / keys <= SCROLL_BUDGET, f"{written / keys:.0f} bytes a key"


LEFT, RIGHT, END, ENTER, ESCAPE = "\x1b[D", "\x1b[C", "\x1b[F", "\r", "\x1b"


def test_screens_over_a_session_are_silent_and_cheap_to_move_in(database: Path, finished: Recording) -> None:
    """Inspector, replay and advice over the same session, each in a terminal of its own, all at once."""
    visits: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (
        (ENTER, "INSPECT", SCROLL_BUDGET, ("j", "j", "k")),
        (ENTER, "INSPECT", STEP_BUDGET, (LEFT, RIGHT, "N")),
        ("r", "REPLAY", STEP_BUDGET, (RIGHT, LEFT, "[")),
        ("A", "which tree pays", PAGE_BUDGET, ("j", "k", "G")),
    )

    def visit(case: tuple[str, str, int, tuple[str, ...]]) -> None:
        opening, words, budget, moves = case
        with dashboard(database, finished.id) as terminal:
            terminal.wait_for("finished")
            silence(terminal, 0.5)
            opened = terminal.press(opening)
            terminal.wait_for(words, since=opened)
            silence(terminal, REST)
            spent = []
            for key in moves:
                pressed = terminal.press(key)
                # A key that has nowhere to go writes nothing, and may.
                silence(terminal, 0.5, since=pressed)
                spent.append(len(terminal.output(pressed)))
            assert sum(spent) / len(spent) <= budget, (words, spent)
            silence(terminal, REST, since=terminal.press(ESCAPE))

    at_once(visit, visits)


def test_a_replay_stays_within_the_budget(database: Path) -> None:
    """Four seconds at 1x, which is some 50 tokens a second, of prompts as long as those of the live run above."""
    made = Recording(database, prompts=8)
    made.begin()
    for _ in range(8):
        made.prompt(tokens=400)
    made.end()
    with dashboard(database, made.id) as terminal:
        terminal.wait_for("finished")
        silence(terminal, 0.5)
        opened = terminal.press("r")
        terminal.wait_for("REPLAY", since=opened)
        silence(terminal, 1.0, since=terminal.press("\x1b[H"))
        begun = terminal.press(" ")
        terminal.wait_for("0:04", since=begun)
        written = len(terminal.output(begun))
    # By the session's own clock, so that a machine too slow to play at the rate measures the same.
    assert 500 < written / 4 <= BUDGET, f"{written / 4:.0f} bytes a second"
