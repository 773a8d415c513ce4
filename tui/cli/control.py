"""`spectui sessions stop`, `pause`, `resume`, `skip`: what one tells a worker from anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from tui.cli.options import State, shared_options
from tui.cli.output import line

ANSWER_S = 5.0
"""A worker looks between rounds, and the first round comes after loading: then the command stays pending."""
POLL_S = 0.05

_DOES = {
    "stop": "End the run of SESSION in order; 'spectui run --resume' goes on with it.",
    "pause": "Halt the run of SESSION between two rounds.",
    "resume": "Let a paused SESSION go on.",
    "skip": "Leave the prompt that SESSION is at and go on with the next.",
}
_SETTLED: dict[str, tuple[str, ...]] = {
    "stop": ("stopped", "finished", "failed", "interrupted"),
    "pause": ("paused",),
    "resume": ("running",),
    "skip": (),
}
"""Statuses that a command leads to; skipping leads to none of its own."""


def add_commands(group: click.Group) -> None:
    """Put the four commands into `group`."""
    for kind, does in _DOES.items():
        group.add_command(_command(kind, does))


def _command(kind: str, does: str) -> click.Command:
    @click.command(kind, help=f"{does} SESSION is an id, a name, or 'last'.")
    @click.argument("session", default="last")
    @shared_options
    @click.pass_context
    def command(context: click.Context, session: str) -> None:
        from store.errors import StoreError
        from store.reader import Reader
        from tui.commands import tell

        database = context.ensure_object(State).database
        with Reader(database) as reader:
            summary = reader.session(session)
            if kind == "resume" and not summary.live:
                raise StoreError(
                    f"session '{summary.name}' is {summary.status}: there is no worker to resume it; go on with: "
                    f"spectui run --resume {summary.id}"
                )
            tell(database, summary.id, kind)

            def obeyed() -> bool:
                status = reader.session(summary.id).status
                return not reader.pending_commands(summary.id) and (
                    not _SETTLED[kind] or status in _SETTLED[kind]
                )

            if _soon(obeyed):
                line(
                    f"session {summary.id} '{summary.name}': {_done(kind, reader.session(summary.id).status)}"
                )
            else:
                line(
                    f"session {summary.id} '{summary.name}': {kind} is pending; its worker obeys between rounds"
                )

    return command


def _done(kind: str, status: str) -> str:
    return "skipped its prompt" if kind == "skip" else status


def _soon(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + ANSWER_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
