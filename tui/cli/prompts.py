"""`spectui prompts`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from tui.cli.options import json_option, shared_options
from tui.cli.output import count, json_line, line, table

SHOWN = 60
"""Characters of a prompt in the list."""


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def prompts(context: click.Context) -> None:
    """Bundled prompts and your own (without a command: ls)."""
    if context.invoked_subcommand is None:
        context.invoke(ls, tasks=(), as_json=False)


@prompts.command("ls")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@json_option
@shared_options
def ls(tasks: tuple[str, ...], as_json: bool) -> None:
    """List the bundled prompts, of all tasks or of some."""
    from prompts.loader import bundled

    found = bundled(tasks or None)
    if as_json:
        json_line([asdict(prompt) for prompt in found])
        return
    rows = []
    for prompt in found:
        text = " ".join(prompt.text.split())
        rows.append(
            (prompt.id, text if len(text) <= SHOWN else text[: SHOWN - 1] + "…", count(len(prompt.text)))
        )
    table(("id", "prompt", "characters"), rows, left=2)


@prompts.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@shared_options
def check(file: Path, as_json: bool) -> int:
    """Say whether `spectui run --prompts FILE` would take a file; lists every bad line."""
    from prompts.loader import load, problems

    found = problems(file)
    tasks = {} if found else dict(Counter(prompt.task for prompt in load(file)))
    if as_json:
        json_line({"file": str(file), "tasks": tasks, "problems": found})
    elif found:
        for problem in found:
            line(problem)
    else:
        numbers = ", ".join(f"{task} {number}" for task, number in tasks.items())
        line(f"{file}: {sum(tasks.values())} prompts: {numbers}")
    if found:
        line(f"spectui: {len(found)} problem(s) in {file}", err=True)
    return 1 if found else 0
