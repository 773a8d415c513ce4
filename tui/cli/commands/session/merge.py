"""`spectui sessions merge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import json_line, line
from spectui.tui.terminal.cells import counted

if TYPE_CHECKING:
    from spectui.store.merging.parts import Place


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("shards", nargs=-1, required=True)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the merged session (default: that of the shards, or a made-up one).",
)
@click.option("--force", is_flag=True, help="Replace the file OUT.")
@json_option
@shared_options
@click.pass_obj
def merge(
    state: State, out: Path, shards: tuple[str, ...], name: str | None, force: bool, as_json: bool
) -> None:
    """Merge SHARDS of one run into OUT, a new database.

    Each is a database file with one session, FILE:SESSION, or a session of the database (an id or a name). They stay as
    they are, and OUT is written whole or not at all: only where they are of one run and have each of its prompts once.
    """
    from dataclasses import asdict

    from spectui.store.merging.merge import merge as merge_shards
    from spectui.tui.cli.output import Bar

    with Bar(delay=1.0) as bar:
        merged = merge_shards(
            [_place(each, state) for each in shards],
            out,
            name=name,
            force=force,
            progress=lambda done, total: bar("merging", done, total, "prompts"),
        )
    if as_json:
        json_line(asdict(merged) | {"out": str(out)})
        return
    devices = f", on {merged.devices} classes of devices" if merged.devices > 1 else ""
    amount = f"{counted(merged.prompts, 'prompt')} and {counted(merged.rounds, 'round')}"
    line(
        f"wrote {out}: session {merged.session} '{merged.name}', {amount} "
        f"of {merged.shards} shards{devices}; see: spectui report --db {out}"
    )


def _place(text: str, state: State) -> Place:
    """The place that an argument names: a file, a session in a file, or a session of the database."""
    from spectui.store.merging.parts import Place
    from spectui.store.paths import expanded

    file, colon, session = text.rpartition(":")
    if expanded(text).is_file() or (not colon and _names_file(text)):
        return Place(expanded(text).resolve())
    if colon and (expanded(file).is_file() or _names_file(file)):
        return Place(expanded(file).resolve(), session)
    return Place(state.database.resolve(), text)


def _names_file(text: str) -> bool:
    """True for what is a file's name rather than a session's, whether or not there is one."""
    return "/" in text or text.endswith(".db")
