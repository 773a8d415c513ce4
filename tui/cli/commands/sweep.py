"""`spectui sweep`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectui.tui.cli.commands.run import asked_replicas, replica_options
from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import json_line, line, table

if TYPE_CHECKING:
    from spectui.store.sweeps.cells import Cell, Sweep


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--dry-run", is_flag=True, help="List the sessions of the sweep and how far they are, and run none."
)
@replica_options
@json_option
@shared_options
@click.pass_obj
def sweep(
    state: State, file: Path, dry_run: bool, replicas: str | None, ray: str | None, as_json: bool
) -> int:
    """Run many drafters and trees, a session each.

    FILE is TOML: drafters, trees, temperatures and tasks are lists, all of whose
    combinations are run; name is the sweep's, and [run] has options of
    'spectui run'. The same command goes on with a sweep that was stopped or killed; what is done is not done again.
    """
    from spectui.tui.cli.result import database_option
    from spectui.tui.cli.sweeping import SweepRun
    from spectui.tui.sweep_file import read_sweep

    say: Callable[[str], None] = lambda text: line(text, err=as_json)  # noqa: E731
    plan = read_sweep(file)
    run = SweepRun(state, plan, say, asked_replicas(replicas, ray))
    if dry_run:
        _list(run.cells, run.progress(), plan.name, as_json=as_json)
        return 0
    outcome = run.run()
    progress = run.progress()
    assert progress is not None
    if as_json:
        json_line(
            {"sweep": plan.name, "cells": _cells(run.cells, progress), "stopped": outcome.stopped},
            indent=None,
        )
    database = database_option(state.database)
    say(f"{progress.words}; compare them with: spectui compare --sweep {shlex.quote(plan.name)}{database}")
    if outcome.stopped:
        say(f"stopped; go on with: spectui sweep {shlex.quote(str(file))}{database}")
        return 0
    if outcome.failed:
        sessions = "session" if len(outcome.failed) == 1 else "sessions"
        cell, problem = outcome.failed[0]
        line(
            f"spectui: {len(outcome.failed)} {sessions} did not finish, the first ({cell.words}) with: {problem}",
            err=True,
        )
        return 1
    return 0


def _cells(cells: list[Cell], progress: Sweep | None) -> list[dict[str, Any]]:
    return [
        {
            **asdict(cell),
            "session": None if progress is None else progress.sessions.get(cell),
            "status": _status(cell, progress),
        }
        for cell in cells
    ]


def _status(cell: Cell, progress: Sweep | None) -> str:
    if progress is None or cell not in progress.sessions:
        return "waiting"
    return "done" if cell in progress.done else "running" if cell in progress.running else "unfinished"


def _list(cells: list[Cell], progress: Sweep | None, name: str, *, as_json: bool) -> None:
    rows = _cells(cells, progress)
    if as_json:
        json_line({"sweep": name, "cells": rows})
        return
    table(
        ("task", "drafter", "tree", "temperature", "session", "status"),
        [
            (
                row["task"],
                row["draft"],
                row["tree"] or "auto",
                f"{row['temperature']:g}",
                "" if row["session"] is None else str(row["session"]),
                row["status"],
            )
            for row in rows
        ],
        left=3,
    )
