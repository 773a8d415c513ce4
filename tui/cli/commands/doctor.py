"""`spectui doctor`."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spectui.decoding.config import RunConfig
from spectui.decoding.machine.versions import own_version
from spectui.decoding.options import options_of
from spectui.tui.cli import costs
from spectui.tui.cli.options import State, json_option, run_option, shared_options
from spectui.tui.cli.output import json_line, line
from spectui.tui.terminal.cells import size

ROOT = Path(__file__).resolve().parents[3]
AGAIN = "--force-reinstall"
ENVIRONMENT_TIMEOUT_S = 180


@click.command()
@click.option(
    "--measure",
    is_flag=True,
    help="First measure the costs of drafting and verifying, by which runs choose trees.",
)
@run_option(options_of(RunConfig)["target"], help="Measure with this target (default: embedded).")
@run_option(options_of(RunConfig)["draft"], help="Measure with this drafter (default: the target's).")
@click.option("--repair", is_flag=True, help="Recount what disagrees with the recorded rounds and nodes.")
@json_option
@shared_options
@click.pass_obj
def doctor(
    state: State, measure: bool, target: str | None, draft: str | None, repair: bool, as_json: bool
) -> int:
    """Check the machine, the terminal and the database.

    Checks the database's integrity, its references, the shape of every tree and every count. Exits with 1 when
    something is wrong.
    """
    if not measure and (target or draft):
        raise click.UsageError("--target and --draft say what to measure; add --measure")
    problems: list[str] = []
    if measure:
        costs.measure({"target": target, "draft": draft}, problems)
    decoding = _decoding(problems)
    kernels = decoding.pop("kernels", [])
    facts = {
        "spectui": own_version(),
        "python": platform.python_version(),
        "decoding": decoding,
        "kernels": kernels if as_json else dict(map(_in_words, kernels)),
        "terminal": _terminal(),
        "model": _or_problem(_model, problems),
        "costs": _or_problem(costs.as_json if as_json else costs.by_section, problems),
        "logs": _or_problem(_logs, problems),
        "database": _or_problem(lambda: _database(state, problems, repair), problems),
        "problems": problems,
    }
    if as_json:
        json_line(facts)
    else:
        for section, content in facts.items():
            if section != "problems":
                _print(section, content)
    for problem in problems:
        line(f"spectui: {problem}", err=True)
    return 1 if problems else 0


def _decoding(problems: list[str]) -> dict[str, Any]:
    """Versions, processors and kernels, from a child that may import torch."""
    from spectui.decoding.processes import python, run

    try:
        done = run(python("-m", "spectui.decoding.machine.environment"), timeout=ENVIRONMENT_TIMEOUT_S)
        facts: Any = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, ValueError):
        facts = None
        done = None
    if isinstance(facts, dict):
        return facts
    last = done.stderr.strip().splitlines()[-1:] if done else []
    problems.append(
        f"torch and transformers cannot be asked: {last[0] if last else 'no answer'}; try: {install_command()}"
    )
    return {}


def install_command(root: Path = ROOT) -> str:
    """The command that installs spectui and all it needs again: in a clone, or as a package."""
    return (
        "make install"
        if (root / "Makefile").is_file()
        else f"{sys.executable} -m pip install {AGAIN} spectui"
    )


def _or_problem(facts: Callable[[], Any], problems: list[str]) -> Any:
    """The facts; an error becomes one more problem, with none."""
    from spectui.decoding.errors import DecodingError
    from spectui.store.errors import StoreError

    try:
        return facts()
    except (DecodingError, StoreError) as error:
        problems.append(str(error))
        return {}


def _in_words(kernel: dict[str, str]) -> tuple[str, str]:
    """The subject of a kernel, and one line on what there is and what would be better."""
    do = f". For better: {kernel['do']}" if kernel["do"] else ""
    return kernel["what"], kernel["found"] + do


def _terminal() -> dict[str, Any]:
    window = shutil.get_terminal_size()
    return {
        "term": os.environ.get("TERM", ""),
        "colorterm": os.environ.get("COLORTERM", ""),
        "no_color": bool(os.environ.get("NO_COLOR")),
        "size": f"{window.columns}x{window.lines}",
        "terminal": sys.stdout.isatty(),
        "encoding": sys.stdout.encoding,
        "tmux": bool(os.environ.get("TMUX")),
        "ssh": bool(os.environ.get("SSH_CONNECTION")),
    }


def _model() -> dict[str, Any]:
    from spectui.decoding.checkpoints.embedded import EMBEDDED, folder, is_ready

    return {"embedded": EMBEDDED.name, "ready": is_ready(), "folder": str(folder())}


def _logs() -> dict[str, Any]:
    """The folder of the workers' logs, and its size."""
    from spectui.decoding.worker.launch import log_folder
    from spectui.store.files import files_below, sizes

    folder = log_folder()
    byte_counts = sizes(files_below(folder, "*.log*"))
    return {"folder": str(folder), "files": len(byte_counts), "bytes": sum(byte_counts)}


def _database(state: State, problems: list[str], mend: bool) -> dict[str, Any]:
    """Facts about the database; what `store.care.check` finds, and could not be repaired, goes to `problems`."""
    path: Path = state.database
    facts: dict[str, Any] = {"path": str(path), "exists": path.exists()}
    if state.chosen is None and not path.exists():
        return facts  # it begins with the first run
    from spectui.store.care.check import check
    from spectui.store.care.repair import repair
    from spectui.store.database import connect
    from spectui.store.errors import StoreError
    from spectui.store.reading.reader import Reader
    from spectui.store.schema.steps import STEPS

    try:
        db = connect(path, create=False, read_only=not mend)
    except StoreError as error:
        problems.append(str(error))
        return facts
    reader = Reader(db)
    try:
        facts["bytes"] = path.stat().st_size
        facts["schema"] = STEPS[-1][0]  # `connect` refuses all others
        facts["sessions"] = len(reader.sessions())
        mistakes = check(db)
        if mend and mistakes:
            facts["repaired"] = repair(db)
            mistakes = check(db)
            if mistakes and any(summary.live for summary in reader.sessions()):
                problems.append(f"{path}: sessions at work are left alone; repair them when they have ended")
        problems += [f"{path}: {problem}" for problem in mistakes]
    except StoreError as error:
        problems.append(str(error))
    finally:
        db.close()
    return facts


def _print(section: str, facts: Any, indent: str = "") -> None:
    if not isinstance(facts, dict):
        if section.endswith("bytes") and isinstance(facts, int):
            section, facts = section.removesuffix("_bytes").replace("bytes", "size"), size(facts)
        line(f"{indent}{section}: {_plain(facts)}")
        return
    line(f"{indent}{section}:")
    for key, value in facts.items():
        _print(key, value, indent + "  ")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(_plain(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(
            f"{key.removesuffix('_bytes')} {size(item) if key.endswith('_bytes') else _plain(item)}"
            for key, item in value.items()
        )
    return str(value) if value not in (None, "") else "–"
