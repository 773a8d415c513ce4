"""`spectui sessions rm`, `prune`, `vacuum`: what takes room, and how one gets it back beside running workers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from spectui.decoding.config import KEEP_ALL, RunConfig, kept_from
from spectui.decoding.options import options_of
from spectui.tui.cli.options import State, run_option, shared_options
from spectui.tui.cli.output import line
from spectui.tui.terminal.cells import count, counted, size

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from spectui.store.rows import SessionSummary


def add_commands(group: click.Group) -> None:
    """Put the three commands into `group`."""
    for command in (rm, prune, vacuum):
        group.add_command(command)


@click.command()
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@shared_options
@click.pass_obj
def rm(state: State, sessions: tuple[str, ...], yes: bool) -> None:
    """Delete sessions and all that they recorded. Each SESSION is an id, a name, or 'last'."""
    from spectui.store.care.space import delete_session
    from spectui.store.errors import StoreError

    with _database(state) as connection:
        doomed = _summaries(connection, sessions)
        for summary in doomed:
            if summary.live:
                raise StoreError(
                    f"session '{summary.name}' is {summary.status}; stop it first: spectui sessions stop {summary.id}"
                )
        if not yes:
            _ask(doomed)
        for summary in doomed:
            with _progress() as tell:
                delete_session(connection, summary.id, tell)
            line(f"deleted session {summary.id} '{summary.name}'")
    line("later runs reuse the space; to shrink the file: spectui sessions vacuum")


@click.command()
@click.argument("sessions", nargs=-1, metavar="[SESSION...]")
@run_option(
    options_of(RunConfig)["keep_nodes"],
    help="rounds or N-days, as for spectui run (default: as each session was run).",
)
@shared_options
@click.pass_obj
def prune(state: State, sessions: tuple[str, ...], keep_nodes: str | None) -> None:
    """Delete the rejected nodes of ended prompts. Of all sessions, unless some are named.

    Rounds, text and all counts stay. Whatever needs every node (trees, rejected drafts, the report) then leaves
    these prompts out and says so.
    """
    from spectui.store.care.pruning import prune_session

    if keep_nodes is not None:
        kept_from(keep_nodes)
    with _database(state) as connection:
        total = 0
        for summary in _summaries(connection, sessions):
            its_own = str(summary.config.get("keep_nodes", KEEP_ALL))
            before = kept_from(its_own if keep_nodes is None else keep_nodes)
            with _progress() as tell:
                prompts, nodes = prune_session(connection, summary.id, before, tell)
            total += nodes
            if nodes:
                amount = f"{counted(nodes, 'node')} of {counted(prompts, 'prompt')}"
                line(f"session {summary.id} '{summary.name}': {amount} deleted")
        if not total:
            line("there was nothing to delete")
            return
    line("later runs reuse the space; to shrink the file: spectui sessions vacuum")


@click.command()
@shared_options
@click.pass_obj
def vacuum(state: State) -> None:
    """Free the space of deleted sessions and pruned nodes. Runs may go on meanwhile."""
    from spectui.store.care.space import vacuum as give_back

    with _database(state) as connection, _progress() as tell:
        done = give_back(connection, tell)
    if done.sessions:
        line(f"removed what was left of {done.sessions} deleted sessions")
    line(f"{state.database}: {size(done.before)} before, {size(done.after)} now")


@contextmanager
def _database(state: State) -> Iterator[sqlite3.Connection]:
    from spectui.store.database import connect

    # A worker's transaction is short; whoever else writes for longer is somebody else at this work.
    with closing(connect(state.database, create=False, timeout=60.0)) as connection:
        yield connection


def _summaries(connection: sqlite3.Connection, names: tuple[str, ...]) -> list[SessionSummary]:
    from spectui.store.reading.reader import Reader

    reader = Reader(connection)
    summaries = [reader.session(name) for name in names] if names else reader.sessions()
    return list({summary.id: summary for summary in summaries}.values())


def _ask(doomed: list[SessionSummary]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask in; give --yes")
    for summary in doomed:
        amount = f"{counted(summary.rounds, 'round')}, {counted(summary.nodes, 'node')}"
        line(f"session {summary.id} '{summary.name}': {amount}")
    click.confirm("Delete for good?", abort=True)


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Counts in place on a terminal's stderr, and nothing elsewhere."""
    shown = False

    def tell(what: str, done: int) -> None:
        nonlocal shown
        if sys.stderr.isatty():
            shown = True
            click.echo(f"\r{count(done)} {what}", nl=False, err=True)

    try:
        yield tell
    finally:
        if shown:
            click.echo(err=True)
