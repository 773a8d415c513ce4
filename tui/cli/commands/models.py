"""`spectui models`: the model that comes with spectui, and what others need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from spectui.decoding.config import RunConfig
from spectui.decoding.options import options_of
from spectui.tui.cli.options import json_option, run_option, shared_options
from spectui.tui.cli.output import Bar, json_line, line, table
from spectui.tui.terminal.cells import NOTHING, counted

RUN = options_of(RunConfig)


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def models(context: click.Context) -> None:
    """The models on this machine (without a command: ls)."""
    if context.invoked_subcommand is None:
        context.invoke(ls, folders=(), as_json=False)


@models.command("ls")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@json_option
@shared_options
def ls(folders: tuple[Path, ...], as_json: bool) -> int:
    """Show the models on this machine.

    The embedded one, those in the hub's cache, and those in or right below FOLDER.

    For each: its kind, its size, what it takes in memory, and which of the others draft for it. No weights are loaded.
    """
    from spectui.decoding.checkpoints.embedded import EMBEDDED, folder, is_ready
    from spectui.decoding.models.local import local_models
    from spectui.store.files import files_below, sizes
    from spectui.store.paths import expanded

    paths = [expanded(each) for each in folders]
    for each in paths:
        if not each.is_dir():
            raise click.UsageError(f"{each} is no folder; give one that holds models")
    ready = is_ready()
    row: dict[str, Any] = {
        "name": "embedded",
        "model": EMBEDDED.name,
        "licence": EMBEDDED.licence,
        "source": f"PyPI {EMBEDDED.requirement}",
        "ready": ready,
        "folder": str(folder()),
        "bytes": sum(sizes(files_below(folder()))) if ready else 0,
    }
    rows: list[dict[str, Any]] = [row]
    if len(local_models(paths)) > (0 if as_json else ready):  # what they are takes seconds to tell
        from spectui.decoding.processes import python, run

        done = run(python("-m", "spectui.decoding.models.listing", *map(str, paths)))
        if done.returncode:
            line(done.stderr.strip().rpartition("\n")[2], err=True)
            return 1
        rows = json.loads(done.stdout.strip().rpartition("\n")[2])
        rows = [(row if each["name"] == row["name"] else _row_of_any(each)) | each for each in rows]
        rows = rows if ready else [row, *rows]
    if as_json:
        json_line(rows)
        return 0
    state = (
        f"{row['bytes'] / 1e6:,.0f} MB in {folder()}" if ready else "not fetched yet (spectui models pull)"
    )
    if not ready or len(rows) == 1:
        head = ("name", "model", "licence", "source", "state")
        table(head, [("embedded", EMBEDDED.name, EMBEDDED.licence, row["source"], state)], left=5)
    if len(rows) > 1:
        _print_models(rows if ready else rows[1:])
    line("Any Hugging Face id or local folder of a causal language model works as --target and --draft too.")
    return 0


def _row_of_any(model: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the embedded model, for another one."""
    return {"model": model["name"], "licence": None, "source": None, "ready": model["problem"] is None}


def _print_models(rows: list[dict[str, Any]]) -> None:
    """A table of models and of their drafts, and a line on each that cannot be used."""
    lines = []
    for each in rows:
        memory = NOTHING
        if each["memory_bytes"] is not None:
            memory = f"{_size(each['memory_bytes'])}{'' if each['fits'] else ', too much'}"
        pairs = ", ".join(each["drafts"])
        if each["targets"]:
            pairs = f"{pairs}{'; ' if pairs else ''}drafts for {', '.join(each['targets'])}"
        kind = each["kind"].partition(" ")[2] if each["problem"] is None else "not usable"
        lines.append(
            (
                each["name"],
                each["architecture"] or NOTHING,
                kind,
                _size(each["bytes"]),
                memory,
                pairs or NOTHING,
            )
        )
    table(("name", "architecture", "kind", "files", "in memory", "drafts"), lines, left=6)
    for each in rows:
        if each["problem"] is not None:
            named = each["name"] in each["problem"]
            line(each["problem"] if named else f"{each['name']}: {each['problem']}")


def _size(count: float) -> str:
    return (
        f"{count / 1e9:.1f} GB"
        if count >= 1e9
        else f"{count / 1e6:,.0f} MB"
        if count >= 1e6
        else "under 1 MB"
    )


@models.command()
@click.option("--force", is_flag=True, help="Fetch it again even if it is there.")
@shared_options
def pull(force: bool) -> None:
    """Fetch the embedded model (93 MB) and convert it (269 MB on disk)."""
    from spectui.decoding.checkpoints.embedded import ensure, remove

    if force:
        remove()
    with Bar() as progress:
        folder = ensure(progress)
    line(f"ready: {folder}")


@models.command()
@click.argument("model", required=False)
@run_option(RUN["draft"], help="Count the memory of this drafter too.")
@run_option(RUN["device"], help="Device to load on (default: auto).")
@run_option(RUN["dtype"])
@run_option(RUN["max_new_tokens"], help="Count a cache for this many new tokens.")
@run_option(RUN["allow_pickle"])
@click.option("--from-config", is_flag=True, help="Count by config.json alone, without weights.")
@json_option
@shared_options
def check(model: str | None, from_config: bool, as_json: bool, **options: Any) -> int:
    """Show the memory that MODEL takes and whether it fits. Without MODEL, verify the embedded model's files.

    MODEL is a hub id (also MODEL@REVISION), a folder or 'embedded'. No weights are fetched; of
    those here a draft head's are loaded, to hold them against its configuration.
    """
    chosen = {name.replace("_", "-"): value for name, value in options.items() if value not in (None, False)}
    if model is not None:
        from spectui.decoding.processes import python, run

        command = python("-m", "spectui.decoding.models.needs", model, *(["--json"] if as_json else []))
        for name, value in chosen.items():
            command += [f"--{name}", *([] if value is True else [str(value)])]
        command += ["--from-config"] if from_config else []
        done = run(command)
        for text in done.stdout.splitlines():
            line(text)
        if done.returncode and done.stderr:
            line(done.stderr.strip().rpartition("\n")[2], err=True)
        return done.returncode
    if chosen or as_json or from_config:
        raise click.UsageError(
            f"--{next(iter(chosen), 'json' if as_json else 'from-config')} needs a MODEL to check"
        )
    return _check_embedded()


def _check_embedded() -> int:
    from spectui.decoding.checkpoints import embedded

    with Bar() as progress:
        problems = embedded.check(progress)
    for problem in problems:
        line(problem)
    if problems:
        line(f"spectui: {counted(len(problems), 'problem')} with {embedded.EMBEDDED.name}", err=True)
        return 1
    line(f"{embedded.EMBEDDED.name}: every file is as it was written")
    return 0
