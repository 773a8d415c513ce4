"""A run in lines of text: its stages, a line per prompt, a sign of life; for pipes and logs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spectui.tui.cli.output import amount, duration
from spectui.tui.terminal.cells import count, counted, number

if TYPE_CHECKING:
    from spectui.store.reading.reader import Reader
    from spectui.store.rows import GenerationRow, SessionSummary

POLL_S = 0.2
LOOK_S = 1.0
"""Interval at which the session is read although nothing was committed: a dead worker commits nothing."""
STAGE_S = 2.0
"""Interval of progress lines within a stage of loading."""
SIGN_OF_LIFE_S = 10.0
STOP_S = 5.0
"""Seconds that a stopped worker may take to end its round before one stops waiting."""

Say = Callable[[str], None]


class Follower:
    """Prints what happens to one session until it ends."""

    def __init__(self, reader: Reader, session: int, say: Say) -> None:
        self._reader = reader
        self._session = session
        self._say = say
        self._reported: set[int] = set()
        self._stage = ""
        self._tree = reader.session(session).tree
        self._events = len(reader.events(session))
        self._spoke = time.monotonic()
        self._day = datetime.now().astimezone().date()

    def until_end(self, deadline: float | None = None) -> SessionSummary:
        """Follow until the session has ended, or until `deadline` (`time.monotonic`); returns it."""
        looked = -LOOK_S
        while True:
            now = time.monotonic()
            if self._reader.changed() or now - looked >= LOOK_S:
                looked = now
                summary = self._reader.session(self._session)
                self._tell(summary)
                if not summary.live or (deadline is not None and now >= deadline):
                    return summary
            time.sleep(POLL_S)

    def _tell(self, summary: SessionSummary) -> None:
        if summary.stage != self._stage or summary.prompts_done > len(self._reported) or not summary.live:
            self._tell_events()
        ended = [g for g in self._generations(summary) if g.status in ("finished", "skipped", "failed")]
        for generation in ended:
            if generation.id not in self._reported:
                self._reported.add(generation.id)
                self._speak(_prompt_line(generation, len(self._reported), summary))
        silent = time.monotonic() - self._spoke
        if summary.tree != self._tree:
            self._tree = summary.tree
            self._speak(f"tree {summary.tree}")
        if not summary.live:
            return
        if summary.stage != self._stage:
            self._stage = summary.stage
            self._speak(_stage_line(summary))
        elif summary.status == "starting" and summary.stage_done and silent >= STAGE_S:
            self._speak(_stage_line(summary))
        elif silent >= SIGN_OF_LIFE_S:
            self._speak(self._sign_of_life(summary))

    def _tell_events(self) -> None:
        """Print the events since the last look; the caller prints the one that ended the run last."""
        events = self._reader.events(self._session)
        for event in events[self._events :]:
            if event.generation_id is None and event.kind not in ("limit", "refused"):
                self._speak(f"{event.kind}: {event.text}")
        self._events = len(events)

    def _generations(self, summary: SessionSummary) -> list[GenerationRow]:
        if summary.prompts_done <= len(self._reported):
            return []
        return self._reader.generations(self._session, texts=False)

    def _sign_of_life(self, summary: SessionSummary) -> str:
        from spectui.tui.model.progress import eta_seconds, silence

        if summary.silent_seconds is not None:
            last = f"; it was {summary.held_up_by}" if summary.held_up_by else ""
            return f"{summary.status}: {silence(summary)} from process {summary.pid} on {summary.host}{last}"
        if not summary.rounds or summary.held_up_by:
            return _stage_line(summary)
        eta = eta_seconds(self._reader.generations(self._session, texts=False))
        return (
            f"{summary.status}: {summary.prompts_done}/{summary.prompt_count} prompts, "
            f"{count(summary.tokens)} tokens, {number(summary.tokens_per_second, 1)} tok/s, "
            f"{number(summary.tokens_per_round)} tok/round, ETA {duration(eta)}"
        )

    def _speak(self, text: str) -> None:
        if text:
            self._spoke = time.monotonic()
            now = datetime.now().astimezone()
            if now.date() != self._day:  # of a run over night it has to be said which day it is
                self._day = now.date()
                self._say(f"{now:%Y-%m-%d}")
            self._say(f"{now:%H:%M:%S}  {text}")


def follow(
    reader: Reader, database: Path, session: int, say: Say, *, stop_on_interrupt: bool
) -> SessionSummary:
    """Follow a session to its end. Ctrl-C asks the worker to stop, a second one leaves it running.

    With `stop_on_interrupt` False the first Ctrl-C leaves it. Whoever leaves is told how to come back.
    """
    follower = Follower(reader, session, say)
    try:
        return follower.until_end()
    except KeyboardInterrupt:
        if not stop_on_interrupt:
            return _leave(reader, session, say)
    try:
        from spectui.store.errors import StoreError
        from spectui.tui.feeds.writes import send
        from spectui.tui.model.progress import silence

        try:
            signalled = send(database, session, "stop")
            how = " (by a signal: the database cannot be written)" if signalled else ""
            say(f"stopping after this round{how}; Ctrl-C again leaves the run going")
        except StoreError as error:  # it ended by itself just now
            say(str(error))
        summary = follower.until_end(time.monotonic() + STOP_S)
        if summary.live:
            why = f": {silence(summary)}" if summary.silent_seconds else "; it ends by itself"
            say(f"still stopping{why}. Look again with: spectui sessions stop {session}")
        return summary
    except KeyboardInterrupt:
        return _leave(reader, session, say)


def _leave(reader: Reader, session: int, say: Say) -> SessionSummary:
    summary = reader.session(session)
    if summary.live:
        say(f"the run goes on; watch it again with: spectui attach {session}")
    return summary


def _stage_line(summary: SessionSummary) -> str:
    if not summary.stage:
        return ""
    how_much = amount(summary.stage_done, summary.stage_total, summary.stage_unit)
    return f"{summary.stage}: {how_much}" if how_much else summary.stage


def _prompt_line(generation: GenerationRow, done: int, summary: SessionSummary) -> str:
    start = f"{done}/{summary.prompt_count} {generation.prompt_id}:"
    if generation.status == "failed":
        return f"{start} failed: {generation.error or 'no reason was recorded'}"
    from spectui.store.counts.metrics import tokens_per_second

    rate = tokens_per_second(generation.token_count, generation.total_ms)
    how = "" if generation.status == "finished" else f" ({generation.finish_reason or generation.status})"
    return (
        f"{start} {counted(generation.token_count, 'token')} in {counted(generation.round_count, 'round')}, "
        f"{number(generation.tokens_per_round)} tok/round, {number(rate, 1)} tok/s{how}"
    )
