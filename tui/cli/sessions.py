"""`spectui sessions`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tui.cli import control, space
from tui.cli.export import export
from tui.cli.options import State, json_option, shared_options
from tui.cli.output import NOTHING, count, json_line, line, number, table
from tui.cli.result import as_json as figures_json
from tui.cli.result import print_figures

if TYPE_CHECKING:
    from store.reader import Reader
    from store.rows import EventRow, SessionSummary, Worker


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def sessions(context: click.Context) -> None:
    """Past and present runs (without a command: ls)."""
    if context.invoked_subcommand is None:
        context.invoke(ls, as_json=False)


@sessions.command("ls")
@json_option
@shared_options
@click.pass_context
def ls(context: click.Context, as_json: bool) -> None:
    """List all sessions, the newest first."""
    database = context.ensure_object(State).database
    if context.ensure_object(State).chosen is None and not database.exists():
        found: list[SessionSummary] = []  # the default database begins with the first run
    else:
        with _reader(database) as reader:
            found = reader.sessions()
    if as_json:
        json_line([asdict(summary) for summary in found])
    elif not found:
        line("no sessions yet; start one with: spectui run")
    else:
        from tui.progress import ago, failed_words, silence

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
            "started",
        )
        rows = [
            (
                str(s.id),
                s.name,
                ", ".join(filter(None, (s.status, silence(s)))),
                f"{s.target} <- {s.drafter}",
                ",".join(s.tasks),
                ", ".join(filter(None, (f"{s.prompts_done}/{s.prompt_count}", failed_words(s)))),
                count(s.tokens),
                number(s.match_rate),
                number(s.tokens_per_round),
                ago(s.started_at or s.created_at),
            )
            for s in found
        ]
        table(head, rows, left=5)


@sessions.command()
@click.argument("session", default="last")
@json_option
@shared_options
@click.pass_context
def show(context: click.Context, session: str, as_json: bool) -> None:
    """Show one session: SESSION is an id, a name, or 'last'."""
    with _reader(context.ensure_object(State).database) as reader:
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
@click.pass_context
def rename(context: click.Context, session: str, name: str) -> None:
    """Give SESSION another NAME."""
    from store.database import connect
    from store.sessions import rename_session

    database = context.ensure_object(State).database
    with _reader(database) as reader:
        summary = reader.session(session)
    db = connect(database, create=False)
    try:
        rename_session(db, summary.id, name)
    finally:
        db.close()
    line(f"session {summary.id} '{summary.name}' is now '{name}'")


control.add_commands(sessions)
space.add_commands(sessions)
sessions.add_command(export)


def _facts(
    summary: SessionSummary, worker: Worker | None, events: Sequence[EventRow]
) -> Iterator[tuple[str, Any]]:
    from tui.progress import failed_words, round_age, silence

    yield "session", f"{summary.id} '{summary.name}'"
    status = ", ".join(filter(None, (summary.status, silence(summary))))
    yield "status", f"{status}: {summary.error}" if summary.error else status
    if worker is not None and summary.live:
        state = ", stopped by a signal" if worker.stopped else ""
        yield "worker", f"process {worker.pid} on {worker.host}{state}"
    if summary.live and round_age(summary):
        yield "last round", f"{round_age(summary)} ago"
    yield "target", summary.target
    yield "drafter", f"{summary.drafter}, tree {summary.tree}"
    yield "device", summary.device or NOTHING
    tasks = ", ".join(f"{task} {prompts}" for task, prompts in summary.tasks.items())
    done = ", ".join(
        filter(None, (f"{summary.prompts_done} of {summary.prompt_count} done", failed_words(summary)))
    )
    yield "prompts", f"{done}: {tasks}"
    if summary.study:
        yield "set-up", "the published study's"
    apart = ("target", "draft", "tree", "study")
    config = {k: v for k, v in summary.config.items() if k not in apart and v is not None}
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


@contextmanager
def _reader(database: Path) -> Iterator[Reader]:
    from store.reader import Reader

    reader = Reader(database)
    try:
        yield reader
    finally:
        reader.close()
