"""`spectui attach`, and watching a run without a dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from spectui.decoding.errors import UsageError
from spectui.store.sources import WATCH
from spectui.tui.cli.dashboard import display_options, has_terminal, open_dashboard
from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import json_line, line
from spectui.tui.cli.result import as_json as figures_json
from spectui.tui.cli.result import failure, limit_reached, print_figures, resume_command
from spectui.tui.terminal.cells import counted


@click.command()
@click.argument("session", default="last")
@click.option("--headless", is_flag=True, help="Print progress lines even in a terminal.")
@json_option
@display_options
@shared_options
@click.pass_obj
def attach(state: State, session: str, headless: bool, as_json: bool) -> int:
    """Watch a run, live or past.

    SESSION is an id, a name, or 'last' (the default).
    In a pipe, prints progress lines and the final table; leaving never stops the run.
    """
    with state.reader() as reader:
        summary = reader.session(session)
        if has_terminal() and not headless and not as_json:
            return open_dashboard(state, summary.id)
        if summary.source == WATCH:
            raise UsageError(
                f"session '{summary.name}' is a watched server; read it with: spectui report {summary.id}"
            )
        session_id = summary.id
    return watch(state.database, session_id, as_json=as_json, stop_on_interrupt=False)


def watch(database: Path, session: int, *, as_json: bool, stop_on_interrupt: bool) -> int:
    """Follow a session in lines, print what it found, return the exit code: 0 only if it finished and no prompt failed.

    With `as_json` stdout gets one JSON object and nothing else; the lines go to stderr.
    """
    from spectui.store.reading.reader import Reader
    from spectui.tui.cli.follow import follow

    def say(text: str) -> None:
        line(text, err=as_json)

    with Reader(database) as reader:
        summary = reader.session(session)
        tasks = ", ".join(f"{task} {number}" for task, number in summary.tasks.items())
        say(
            f"session {summary.id} '{summary.name}': {summary.target} <- {summary.drafter}, tree {summary.tree}"
        )
        say(f"{counted(summary.prompt_count, 'prompt')}: {tasks}")
        summary = follow(reader, database, session, say, stop_on_interrupt=stop_on_interrupt)
        problem = failure(reader, summary, database)
        if as_json:
            json_line(figures_json(reader, summary), indent=None)
        elif not summary.live:
            print_figures(reader, summary)
        limit = limit_reached(reader, summary)
        if limit is not None:
            say(f"the run {limit}; go on with: {resume_command(summary.id, database)}")
    if summary.live:
        return 0  # left on purpose
    if problem is not None:
        line(f"spectui: {problem}", err=True)
        return 1
    return 0
