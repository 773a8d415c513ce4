"""`spectui sessions stop`, `pause`, `resume`, `skip`: commands to a worker, from any terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from spectui.tui.cli.options import State, shared_options
from spectui.tui.cli.output import line

if TYPE_CHECKING:
    from spectui.store.rows import SessionSummary, Worker

ANSWER_S = 5.0
"""A worker looks between rounds, and the first round comes after loading: then the command stays pending."""
POLL_S = 0.05
SILENT_S = 3.0
"""A worker says every second that it lives."""

_DOES = {
    "stop": "End the run of SESSION in order. 'spectui run --resume' goes on with it.",
    "pause": "Halt the run of SESSION between two rounds.",
    "resume": "Let a paused SESSION go on.",
    "skip": "Leave the prompt that SESSION is at and go on with the next.",
}
_PAST = {"stop": "stopped", "pause": "paused", "resume": "gone on", "skip": "skipped its prompt"}
_SETTLED: dict[str, tuple[str, ...]] = {
    "pause": ("paused",),
    "resume": ("running",),
    "skip": (),
}
"""Statuses that a command leads to; a stop leads to any that is not live, skipping to none of its own."""


def add_commands(group: click.Group) -> None:
    """Put the four commands into `group`."""
    for kind, does in _DOES.items():
        group.add_command(_command(kind, does))


def _command(kind: str, does: str) -> click.Command:
    @click.command(kind, help=f"{does} SESSION is an id, a name, or 'last'.")
    @click.argument("session", default="last")
    @shared_options
    @click.pass_obj
    def command(state: State, session: str) -> int:
        from spectui.store.errors import StoreError
        from spectui.store.rows import LIVE_STATUSES
        from spectui.tui.cli.result import resume_command
        from spectui.tui.feeds.writes import send

        with state.reader() as reader:
            summary = reader.session(session)
            if kind == "resume" and not summary.live:
                raise StoreError(
                    f"session '{summary.name}' is {summary.status}: there is no worker to resume it; go on with: "
                    f"{resume_command(summary.id, state.database)}"
                )
            by_signal = send(state.database, summary.id, kind)

            def obeyed() -> bool:
                now = reader.session(summary.id)
                if kind == "stop" or not now.live:
                    return not now.live
                return not reader.pending_commands(summary.id) and now.status in (
                    _SETTLED[kind] or LIVE_STATUSES
                )

            done = _soon(obeyed)
            now = reader.session(summary.id)
            if done and (kind == "stop" or now.live):
                how = " by a signal: the database cannot be written" if by_signal else ""
                status = "stopped" if by_signal else now.status
                line(f"session {now.id} '{now.name}': {_obeyed_words(kind, status)}{how}")
                return 0
            words = _not_obeyed(kind, now, reader.worker(now.id))
            line(f"spectui: session {now.id} '{now.name}' {words}", err=True)
            return 1

    return command


def _obeyed_words(kind: str, status: str) -> str:
    return "skipped its prompt" if kind == "skip" else status


def _not_obeyed(kind: str, summary: SessionSummary, worker: Worker | None) -> str:
    """The command that a worker has not obeyed, the likely reason, and what to do."""
    from spectui.store.clock import seconds_since
    from spectui.tui.feeds.writes import frozen_words, kill_words
    from spectui.tui.model.progress import short_time

    has_not = f"has not {_PAST[kind]}"
    if not summary.live:
        return f"{has_not}: it is {summary.status}"
    if worker is None:
        return f"{has_not} yet: no worker has taken it; {kind} stays pending until one does"
    if worker.stopped:
        cont = kill_words(worker, "-CONT")
        return f"{has_not}: {frozen_words(worker)}; it goes on, and obeys, with: {cont}"
    who = f"its worker, process {worker.pid} on {worker.host},"
    silent = seconds_since(summary.heartbeat_at)
    if silent is not None and silent >= SILENT_S:
        return (
            f"{has_not}: {who} has shown no sign of life for {short_time(silent)}; it obeys if it goes on, and ends "
            f"at once with: {kill_words(worker, '-9')}"
        )
    when = "has loaded its models" if summary.status == "starting" else "has ended the round it is at"
    now = f"; to end it now: {kill_words(worker)}" if kind == "stop" else ""
    return f"{has_not} yet: {who} obeys when it {when}{now}"


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + ANSWER_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
