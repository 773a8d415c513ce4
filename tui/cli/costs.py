"""Measured costs as `spectui doctor` shows them, and the child that measures them."""

from __future__ import annotations

import sys
from dataclasses import asdict
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectui.decoding.trees.costs import Costs, Timing


def measure(options: dict[str, str | None], problems: list[str]) -> None:
    """Measure the pair that `options` name, in a process of its own, whose stages go to stderr.

    What hinders it is added to `problems`.
    """
    from spectui.decoding.processes import python, start

    command = python("-m", "spectui.decoding.worker.measure")
    for name, value in options.items():
        command += [f"--{name}", value] if value is not None else []
    try:
        with start(command, stdout=DEVNULL, stderr=PIPE, text=True, errors="replace") as process:
            assert process.stderr
            last = ""
            for text in process.stderr:
                last = text.strip()
                sys.stderr.write(text)
        if process.returncode:
            problems.append(f"costs could not be measured: {last or 'no answer'}")
    except OSError as error:
        problems.append(f"costs could not be measured: {error.strerror}")


def as_json() -> list[dict[str, Any]]:
    """Every record in the cache folder, newest first, JSON-ready; times in milliseconds."""
    from spectui.decoding.trees.costs import load_all

    return [asdict(costs) for costs in load_all()]


def by_section() -> dict[str, Any]:
    """The same for people: a section per pair of models."""
    from spectui.decoding.trees.costs import load_all

    oldest_first = reversed(load_all())  # the newest of a pair is told; --json has all
    return {
        f"{costs.machine.target} <- {costs.machine.drafter}": _facts(costs) for costs in oldest_first
    } or {"none yet": "the first run measures; or: spectui doctor --measure"}


def _facts(costs: Costs) -> dict[str, str]:
    machine = costs.machine
    threads = f", {machine.threads} threads" if machine.threads else ""
    count = min(timing.count for timing in costs.verify.values())
    return {
        "on": f"{machine.device}, {machine.dtype}{threads}, torch {machine.torch}",
        "measured": f"{costs.measured_at}, {count} times each, {costs.prefix} tokens in the cache",
        "verify ms by rows": "  ".join(f"{rows}: {_spread(timing)}" for rows, timing in costs.verify.items()),
        "draft ms by levels": "  ".join(f"{n}: {_spread(timing)}" for n, timing in costs.draft.items()),
        "other ms a round": f"{_spread(costs.other)}, and {costs.other_node:.2g} a node",
    }


def _spread(timing: Timing) -> str:
    """``35.2 (34.9-36.0)``: the median and its quartiles."""
    return f"{timing.median:.3g} ({timing.low:.3g}-{timing.high:.3g})"
