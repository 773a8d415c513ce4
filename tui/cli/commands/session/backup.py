"""`spectui sessions backup`."""

from __future__ import annotations

from pathlib import Path

import click

from spectui.tui.cli.options import State, shared_options
from spectui.tui.cli.output import Bar, line
from spectui.tui.terminal.cells import size


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace an existing file.")
@shared_options
@click.pass_obj
def backup(state: State, file: Path, force: bool) -> None:
    """Copy the whole database to FILE, even while runs go on.

    cp would leave out the write-ahead log, and may copy half of a round.
    """
    from spectui.store.care.backup import back_up

    database = state.database
    with Bar(delay=1.0) as bar:
        written = back_up(
            database,
            file,
            force=force,
            progress=lambda done, total: bar("copying", done / 1e6, total / 1e6, "MB"),
        )
    line(f"wrote {file}: {size(written)}; look into it with: spectui --db {file}")
