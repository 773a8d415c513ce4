"""The files of this folder: data of an earlier version, and its output about them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MADE = HERE / "made"
"""Files of the earlier version; never made again."""
EXPECTED = HERE / "expected"
"""Its output; ``python -m tests.before.renew`` writes these files again."""

TOLERANCE = 1e-6
"""Of figures, relatively: other versions of numpy and scipy add up in another order."""


def unpack(folder: Path) -> Path:
    """Copies of all that the earlier version wrote in `folder`, databases unpacked; returns it."""
    shutil.copytree(MADE, folder, dirs_exist_ok=True)
    for packed in folder.glob("*.db.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    return folder


def read(name: str) -> Any:
    """An expected output: what its JSON or its table holds, or else its text."""
    return parse(name, (EXPECTED / name).read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Any:
    """The content of a file of that name; figures are numbers, so that `differences` compares them as such."""
    if name.endswith(".json"):
        return json.loads(text)
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    if name.endswith(".csv"):
        return [[_figure(cell) for cell in row] for row in csv.reader(io.StringIO(text))]
    return text


def _figure(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def write(name: str, value: Any) -> None:
    """The counterpart of `read`; lines and tables are given as text."""
    path = EXPECTED / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else _json(value), encoding="utf-8", newline="")


def _json(value: Any) -> str:
    """JSON with a list of numbers on one line."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return (
        re.sub(r"\[[\s\d.,e+-]+\]", lambda numbers: "".join(numbers[0].split()).replace(",", ", "), text)
        + "\n"
    )


def differences(before: Any, now: Any, at: str = "") -> list[str]:
    """A line for each place where two JSON values differ, figures by more than `TOLERANCE`."""
    if isinstance(before, dict) and isinstance(now, dict):
        gone = [f"{at}.{key} is gone" for key in before if key not in now]
        new = [f"{at}.{key} is new" for key in now if key not in before]
        both = [line for key in before if key in now
                for line in differences(before[key], now[key], f"{at}.{key}")]  # fmt: skip
        return [*gone, *new, *both]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [
            line
            for i, pair in enumerate(zip(before, now, strict=True))
            for line in differences(*pair, f"{at}[{i}]")
        ]
    if isinstance(before, float) and isinstance(now, float | int) and not isinstance(now, bool):
        if math.isclose(before, now, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            return []
    elif type(before) is type(now) and before == now:
        return []
    return [f"{at} was {before!r} and is {now!r}"]


def keys_of(value: Any) -> list[str]:
    """The keys of a JSON object, or of the first of a list of them."""
    return sorted(value[0] if isinstance(value, list) else value)


def check_keys(command: str, value: Any) -> None:
    """Fail where the JSON that `command` printed has other keys than it had."""
    assert keys_of(value) == read("json-keys.json")[command], f"keys of {command}"
