"""`spectui longest`, the example of a command in CONTRIBUTING.md."""

from __future__ import annotations

import click

from spectui.tui.cli.options import State, shared_options
from spectui.tui.cli.output import line


@click.command()
@click.argument("session", default="last")
@shared_options
@click.pass_obj
def longest(state: State, session: str) -> None:
    """Print the longest accepted length of a session. SESSION is an id, a name, or 'last'."""
    with state.reader() as reader:
        figures = reader.figures(reader.session(session).id)
    lengths = [length for task in figures.values() for length in task.lengths]
    line(f"{max(lengths, default=0)} draft tokens in one round")
