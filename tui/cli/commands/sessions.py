"""`spectui sessions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from spectui.store.sources import WATCH
from spectui.tui.cli.commands import control, space
from spectui.tui.cli.commands.export import export
from spectui.tui.cli.commands.session.backup import backup
from spectui.tui.cli.commands.session.merge import merge
from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import json_line, line, table
from spectui.tui.cli.result import as_json as figures_json
from spectui.tui.cli.result import print_figures
from spectui.tui.terminal.cells import NOTHING, count, number

if TYPE_CHECKING:
    from spectui.store.rows import EventRow, SessionSummary, Worker


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def sessions(context: click.Context) -> None:
    """Past and present runs (without a command: ls)."""
    if context.invoked_subcommand is None:
        context.invoke(ls, wanted="", by=None, reverse=False, limit=None, as_json=False)


ORDERS: Mapping[str, Callable[[SessionSummary], Any]] = {
    "id": lambda s: s.id,
    "name": lambda s: s.name.casefold(),
    "status": lambda s: s.status,
    "target": lambda s: s.target.casefold(),
    "drafter": lambda s: s.drafter.casefold(),
    "prompts": lambda s: s.prompts_done,
    "failed": lambda s: s.prompts_failed,
    "tokens": lambda s: s.tokens,
    "match": lambda s: s.match_rate,
    "tok/round": lambda s: s.tokens_per_round,
    "tok/s": lambda s: s.tokens_per_second,
    "x plain": lambda s: s.speedup,
    "started": lambda s: s.started_at or s.created_at,
}
"""Columns for ``--sort``: numbers and times fall, words rise."""
RISING = ("name", "status", "target", "drafter")


@sessions.command("ls")
@click.option(
    "--filter",
    "wanted",
    default="",
    metavar="WORDS",
    help="Only sessions that match all words, as in the dashboard: task:code '#study' '>2026-11' -failed.",
)
@click.option(
    "--sort",
    "by",
    type=click.Choice([*ORDERS]),
    metavar="COLUMN",
    help=f"Sort by {', '.join([*ORDERS][:-1])} or {[*ORDERS][-1]}.",
)
@click.option("--reverse", is_flag=True, help="Reverse the order.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@json_option
@shared_options
@click.pass_obj
def ls(state: State, wanted: str, by: str | None, reverse: bool, limit: int | None, as_json: bool) -> None:
    """List sessions, the newest first, and how far unfinished sweeps are."""
    from spectui.store.sweeps.cells import Sweep, sweeps

    if state.chosen is None and not state.database.exists():
        every: list[SessionSummary] = []  # the default database begins with the first run
        unfinished: list[Sweep] = []
    else:
        with state.reader() as reader:
            plain = not wanted.strip() and by is None and not reverse
            every = reader.sessions(limit if plain else None)
            unfinished = [] if as_json else [each for each in sweeps(reader) if not each.complete]
    listed = _chosen(every, wanted, by, reverse)[:limit]
    if as_json:
        json_line([asdict(summary) for summary in listed])
    elif not every:
        line("no sessions yet; start one with: spectui run")
    elif not listed:
        line(f"none of {count(len(every))} sessions matches")
    else:
        from spectui.tui.model.progress import ago, silence

        head = (
            "id",
            "name",
            "status",
            "models",
            "tasks",
            "prompts",
            "tokens",
            "match",
            "tok/round",
            "x plain",
            "started",
        )
        rows = [
            (
                str(s.id),
                s.name,
                ", ".join(filter(None, (s.status, silence(s)))),
                f"{s.target} <- {s.drafter}",
                ",".join(s.tasks),
                _prompts(s),
                NOTHING if s.source == WATCH else count(s.tokens),
                number(s.match_rate),
                number(s.tokens_per_round),
                number(s.speedup),
                ago(s.started_at or s.created_at),
            )
            for s in listed
        ]
        table(head, rows, left=5)
        for each in unfinished:
            line(each.words)


def _prompts(summary: SessionSummary) -> str:
    """Prompts done of all; a watched server has none."""
    from spectui.tui.model.progress import failed_words

    if summary.source == WATCH:
        return NOTHING
    return ", ".join(filter(None, (f"{summary.prompts_done}/{summary.prompt_count}", failed_words(summary))))


def _chosen(
    every: Sequence[SessionSummary], wanted: str, by: str | None, reverse: bool
) -> list[SessionSummary]:
    """The sessions that `wanted` finds, newest first or by a column; those without a value there come last."""
    from spectui.tui.model.session_filter import entry_of, parse

    wanted_filter = parse(wanted)
    if wanted_filter.problem:
        raise click.UsageError(wanted_filter.problem)
    matching = (
        [each for each in every if wanted_filter.matches(entry_of(each))] if wanted_filter else list(every)
    )
    if by is None:
        return matching[::-1] if reverse else matching
    order = ORDERS[by]
    known = [each for each in matching if order(each) is not None]
    known.sort(key=order, reverse=(by not in RISING) != reverse)
    return [*known, *(each for each in matching if order(each) is None)]


@sessions.command()
@click.argument("session", default="last")
@json_option
@shared_options
@click.pass_obj
def show(state: State, session: str, as_json: bool) -> None:
    """Show one session: SESSION is an id, a name, or 'last'."""
    with state.reader() as reader:
        summary = reader.session(session)
        if as_json:
            events = [asdict(event) for event in reader.events(summary.id)]
            json_line({**asdict(summary), "events": events, "figures": figures_json(reader, summary)})
            return
        for label, value in _facts(summary, reader.worker(summary.id), reader.events(summary.id)):
            line(f"{label:<12}{value}")
        line()
        print_figures(reader, summary)


@sessions.command()
@click.argument("session")
@click.argument("name")
@shared_options
@click.pass_obj
def rename(state: State, session: str, name: str) -> None:
    """Give SESSION another NAME."""
    from spectui.store.database import connect
    from spectui.store.sessions import rename_session

    with state.reader() as reader:
        summary = reader.session(session)
    with closing(connect(state.database, create=False)) as db:
        rename_session(db, summary.id, name)
    line(f"session {summary.id} '{summary.name}' is now '{name}'")


control.add_commands(sessions)
space.add_commands(sessions)
sessions.add_command(export)
sessions.add_command(backup)
sessions.add_command(merge)


def _facts(
    summary: SessionSummary, worker: Worker | None, events: Sequence[EventRow]
) -> Iterator[tuple[str, Any]]:
    from spectui.tui.model.progress import failed_words, round_age, silence

    yield "session", f"{summary.id} '{summary.name}'"
    status = ", ".join(filter(None, (summary.status, silence(summary), summary.held_up_by)))
    yield "status", f"{status}: {summary.error}" if summary.error else status
    if worker is not None and summary.live:
        state = ", stopped by a signal" if worker.stopped else ""
        yield "worker", f"process {worker.pid} on {worker.host}{state}"
    if summary.live and round_age(summary):
        yield "last round", f"{round_age(summary)} ago"
    yield "target", summary.target
    yield "drafter", f"{summary.drafter}, tree {summary.tree}"
    yield "device", summary.device or NOTHING
    if summary.server is not None:
        beside = f", compared with {summary.server.baseline_url}" if summary.server.baseline_url else ""
        yield "server", f"{summary.server.name} at {summary.server.url}{beside}"
    if summary.source != WATCH:
        tasks = ", ".join(f"{task} {prompts}" for task, prompts in summary.tasks.items())
        done = ", ".join(
            filter(None, (f"{summary.prompts_done} of {summary.prompt_count} done", failed_words(summary)))
        )
        yield "prompts", f"{done}: {tasks}"
    if summary.study:
        yield "set-up", "the published study's"
    if summary.cell is not None:
        from spectui.store.sweeps.cells import read_cell

        yield "sweep", read_cell(summary.cell).words
    from spectui.decoding.config import OF_A_SERVER, OF_MODELS_HERE
    from spectui.store.sources import RECORDING

    apart: tuple[str, ...] = (
        "target",
        "draft",
        "tree",
        "study",
        "server",
        "baseline_server",
        RECORDING,
        WATCH,
    )
    apart += OF_A_SERVER if summary.server is None else OF_MODELS_HERE
    config = {k: v for k, v in summary.config.items() if k not in apart and v not in (None, "")}
    if config:
        yield "settings", ", ".join(f"{key} {value}" for key, value in config.items())
    yield "started", summary.started_at or NOTHING
    yield "ended", summary.ended_at or NOTHING
    if summary.versions:
        yield "versions", ", ".join(f"{key} {value}" for key, value in summary.versions.items())
    if summary.pruned:
        yield "pruned", f"{summary.pruned} prompts: of their trees only the committed paths are kept"
    if summary.log_path:
        yield "log", summary.log_path
    if summary.notes:
        yield "notes", summary.notes
    for event in events:
        yield "event", f"{event.at} {event.kind}: {event.text}"
