"""`spectui prompts`."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectui.tui.cli.options import json_option, shared_options
from spectui.tui.cli.output import json_line, line, table
from spectui.tui.terminal.cells import NOTHING, count, counted

if TYPE_CHECKING:
    from spectui.prompts import Prompt
    from spectui.prompts.importers import Imported

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
    """List the bundled prompts and their lengths, of all tasks or of some."""
    from spectui.decoding.tokens.lengths import token_lengths
    from spectui.prompts.loader import bundled

    listed = bundled(tasks or None)
    lengths = token_lengths([prompt.text for prompt in listed])
    each: Sequence[int | None] = lengths or [None] * len(listed)
    if as_json:
        json_line(
            [
                {"id": p.id, "task": p.task, "text": p.text, "tokens": tokens}
                for p, tokens in zip(listed, each, strict=True)
            ]
        )
        return
    rows = []
    for prompt, tokens in zip(listed, each, strict=True):
        text = " ".join(prompt.text.split())
        rows.append((prompt.id, text if len(text) <= SHOWN else text[: SHOWN - 1] + "…", count(tokens)))
    table(("id", "prompt", "tokens"), rows, left=2)
    line()
    _print_tasks(listed, lengths)


@prompts.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
@shared_options
def check(file: Path | None, as_json: bool) -> int:
    """Check whether a run would take a file of prompts. FILE may be - for stdin; every bad line is listed.

    Shows the number and lengths of each task's prompts, and what is left out of them. Without FILE, checks the
    bundled prompts.
    """
    from spectui.decoding.tokens.lengths import token_lengths
    from spectui.prompts.loader import bundled
    from spectui.prompts.reading import read

    reading = None if file is None else read(file)
    name = "bundled" if reading is None else reading.name
    bad = [] if reading is None else [problem.describe(name) for problem in reading.problems]
    more = 0 if reading is None else reading.more_problems
    accepted = [] if bad else bundled() if reading is None else reading.prompts
    lengths = token_lengths([prompt.text for prompt in accepted])
    if as_json:
        tasks = dict(Counter(prompt.task for prompt in accepted))
        tokens = {row["task"]: row["tokens"] for row in _tasks(accepted, lengths)}
        notes = {} if reading is None else reading.notes
        result = {"file": name, "tasks": tasks, "tokens": tokens, "problems": bad, "notes": notes}
        json_line(result | ({"more_problems": more} if more else {}))
    elif bad:
        for problem in bad:
            line(problem)
        if more:
            line(f"and {more} more")
    else:
        numbers = ", ".join(f"{row['task']} {row['prompts']}" for row in _tasks(accepted, lengths))
        line(f"{name}: {counted(len(accepted), 'prompt')}: {numbers}")
        for note in reading.note_lines() if reading is not None else ():
            line(note)
        _print_tasks(accepted, lengths)
    if bad:
        hint = "" if reading is None or reading.fatal else "; spectui prompts import leaves such lines out"
        line(f"spectui: {counted(len(bad) + more, 'problem')} in {name}{hint}", err=True)
    return 1 if bad else 0


@prompts.command("import")
@click.option(
    "--format",
    "format_",
    metavar="FORMAT",
    help="Format of FILE: humaneval, gsm8k, mt-bench, spec-bench, speed-bench, jsonl (default: recognised by content).",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--task", metavar="T", help="Task of all prompts (default: as the format says).")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="File to write (default: stdout)."
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@json_option
@shared_options
def import_(
    format_: str | None, file: Path, task: str | None, out: Path | None, force: bool, as_json: bool
) -> None:
    """Convert any FILE of prompts to JSON Lines. FILE may be - for stdin; `spectui run --prompts` takes the result.

    Says for every skipped line why. Conversations are kept up to the last user turn; of several turns without
    answers the first is taken. With --format, HumanEval's prompts get the task code and GSM8K's math; those of
    MT-bench, Spec-Bench and SPEED-Bench their category, where Spec-Bench has those of MT-bench as mt_bench.
    """
    from spectui.prompts.importers import import_file, json_lines
    from spectui.prompts.source import name_of

    imported = import_file(file, format_, task)
    if out is not None:
        from spectui.store.files import new_file

        with new_file(out, force=force) as draft, draft.open("w", encoding="utf-8") as written:
            written.writelines(json_lines([prompt]) for prompt in imported.prompts)
    if as_json:
        json_line(_imported(imported, file, format_, out))
        return
    name = name_of(file)
    for skipped in imported.skipped:
        line(f"{name}:{skipped.line}: skipped: {skipped.reason}", err=True)
    if imported.more_skipped:
        line(f"{name}: {imported.more_skipped} more were skipped", err=True)
    for what, prompts_ in imported.shortened.items():
        share = f" ({prompts_} of {len(imported.prompts)} prompts)" if prompts_ else ""
        line(f"{name}: {what}{share}", err=True)
    if out is None:
        for prompt in imported.prompts:
            click.echo(json_lines([prompt], ascii_only=True), nl=False)
        return
    numbers = ", ".join(f"{name} {n}" for name, n in Counter(p.task for p in imported.prompts).items())
    skips = len(imported.skipped) + imported.more_skipped
    skipped_words = f"; {counted(skips, 'line')} skipped" if skips else ""
    line(f"wrote {out}: {counted(len(imported.prompts), 'prompt')}: {numbers}{skipped_words}")


def _imported(imported: Imported, file: Path, format_: str | None, out: Path | None) -> dict[str, Any]:
    """The object that `import --json` prints; with the prompts where they were not written to a file."""
    from spectui.prompts.importers import prompt_object

    result = {
        "file": str(file),
        "format": format_,
        "out": None if out is None else str(out),
        "tasks": dict(Counter(prompt.task for prompt in imported.prompts)),
        "skipped": [asdict(skipped) for skipped in imported.skipped],
        "shortened": imported.shortened,
    }
    if out is None:
        result["prompts"] = [prompt_object(prompt) for prompt in imported.prompts]
    return result


def _tasks(prompts_: Sequence[Prompt], lengths: Sequence[int] | None) -> list[dict[str, Any]]:
    """By task: how many prompts, and the least, the median and the most tokens, None where they are unknown."""
    rows: list[dict[str, Any]] = []
    for task in dict.fromkeys(prompt.task for prompt in prompts_):
        members = [i for i, prompt in enumerate(prompts_) if prompt.task == task]
        tokens = None if lengths is None else sorted(lengths[i] for i in members)
        spread = tokens and {"least": tokens[0], "median": statistics.median(tokens), "most": tokens[-1]}
        rows.append({"task": task, "prompts": len(members), "tokens": spread})
    return rows


def _print_tasks(prompts_: Sequence[Prompt], lengths: Sequence[int] | None) -> None:
    from spectui.decoding.tokens.lengths import uncounted_reason

    rows = [
        (
            row["task"],
            count(row["prompts"]),
            *(f"{row['tokens'][k]:g}" if row["tokens"] else NOTHING for k in ("least", "median", "most")),
        )
        for row in _tasks(prompts_, lengths)
    ]
    table(("task", "prompts", "least", "median", "most tokens"), rows)
    if lengths is None:
        line(uncounted_reason([prompt.text for prompt in prompts_]))
