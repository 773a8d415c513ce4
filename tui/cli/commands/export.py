"""`spectui sessions export`."""

from __future__ import annotations

from pathlib import Path

import click

from spectui.store.sources import WATCH
from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import Bar, json_line, line
from spectui.tui.terminal.cells import count

FORMATS = ("csv", "jsonl", "parquet", "sqlite", "aiperf")
"""As in `store.export.export`, which brings in more than a command line needs to start; a test holds them equal."""


@click.command()
@click.argument("session", default="last")
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), default="csv", show_default=True, help="Format to write."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Folder of the tables, or the file of sqlite and aiperf (default: in this folder, named after the session).",
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_option
@shared_options
@click.pass_obj
def export(state: State, session: str, kind: str, out: Path | None, force: bool, as_json: bool) -> None:
    """Write prompts, rounds and nodes to files. SESSION is an id, a name, or 'last'.

    csv, jsonl and parquet are a folder with generation, round and node; sqlite is one database with this
    session alone, which spectui and any SQLite browser open; aiperf is a line for each prompt, with its acceptance as
    AIPerf records a request. Every column is described in docs/reference/schema.md.
    """
    from spectui.store.export.export import default_place, export_session

    with state.reader() as reader, Bar(delay=1.0) as bar:
        summary = reader.session(session)
        total = summary.prompt_count + summary.rounds + summary.nodes
        done = 0

        def progress(table: str, written: int) -> None:
            nonlocal done
            done += written
            bar("exporting", done, max(total, done), "rows")

        place = default_place(summary.name, kind) if out is None else out
        exported = export_session(reader, summary.id, kind, place, force=force, progress=progress)
    if as_json:
        json_line(
            {
                "session": exported.session_id,
                "name": exported.name,
                "status": summary.status,
                "format": kind,
                "paths": [str(path) for path in exported.paths],
                "rows": exported.rows,
            }
        )
        return
    for path in exported.paths:
        line(f"wrote {path}")
    words = {"generation": "prompts", "round": "rounds", "node": "nodes"}
    rows = ", ".join(f"{count(number)} {words[table]}" for table, number in exported.rows.items())
    rows = "samples of a watched server" if summary.source == WATCH else rows
    so_far = f" so far: it is {summary.status}" if summary.live else ""
    line(f"session {exported.session_id} '{exported.name}': {rows}{so_far}")
    if summary.pruned:
        line(
            f"the rejected nodes of {summary.pruned} prompts had been deleted before (see docs/reference/schema.md)"
        )
