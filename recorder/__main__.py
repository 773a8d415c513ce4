"""``python -m spectui.recorder FOLDER``: what recorders in a folder have counted, and their own time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

STEPS = ("commits", "target", "target V2")
"""Names of what is called once a step."""
COUNTS = ("rows", "bytes", "dropped", "unsampled", "errors")


def report(folder: Path) -> list[str]:
    """Lines for each process and role; none where the folder has no recording."""
    lines = []
    for file in sorted(folder.glob("*.jsonl")):
        first, last = None, None
        if file.is_symlink() or not file.is_file():  # a pipe would be waited for
            continue
        with file.open(encoding="utf-8", errors="replace") as rows:
            for line in rows:
                if line.startswith('["meta",'):
                    first = _object(line) or first
                elif line.startswith('["stat",'):
                    last = _object(line) or last
        if first is not None:
            try:
                lines += _of_file(file.name, first, last)
            except (AttributeError, KeyError, TypeError, ValueError):
                lines.append(f"{file.name}: what it has counted cannot be read")
    return [_printable(line) for line in lines]


def _of_file(name: str, first: dict[str, Any], last: dict[str, Any] | None) -> list[str]:
    server = first.get("server", "vllm")
    about = f"{name}: {first.get('role')} of {server} {first.get(server)} on {first.get('host')}"
    if last is None:
        return [about, "  no counts yet"]
    counts = ", ".join(f"{last.get(key)} {key}" for key in COUNTS)
    lines = [about, f"  {counts}"]
    if last.get("error"):
        lines.append(f"  last error: {last['error']}")
    lines += [f"  {part} is {state}" for part, state in last.get("parts", {}).items() if state != "on"]
    times: dict[str, dict[str, float]] = last.get("times", {})
    steps = max((times[name]["n"] for name in STEPS if name in times), default=0)
    if steps:
        lines.append(f"  {'own time, microseconds':24}{'calls':>8}{'median':>9}{'99 %':>9}{'a step':>9}")
        for part, time in times.items():
            a_step = time["n"] * time["mean_us"] / steps
            lines.append(
                f"  {part:24}{time['n']:8.0f}{time['p50_us']:9.1f}{time['p99_us']:9.1f}{a_step:9.1f}"
            )
    return lines


def _printable(text: str) -> str:
    """A line without characters that move a terminal's cursor: some of it is of other programs."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)[1]
    except (ValueError, IndexError):
        return None
    return value if isinstance(value, dict) else None


def main() -> int:
    """The command."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m spectui.recorder FOLDER\n")
        return 2
    try:
        lines = report(Path(sys.argv[1]))
    except OSError as error:
        sys.stderr.write(f"{_printable(f'{error.filename}: {error.strerror}')}\n")
        return 1
    if not lines:
        sys.stderr.write(f"{_printable(sys.argv[1])} has no file of a recorder\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
