"""Costs of drafting and verifying on a machine, kept between runs. Torch-free; `measure_costs` measures them.

A record is kept under all that decides the time: the architectures of target and draft, the device, number
type, threads and torch. Records are small JSON files in the cache folder, written atomically.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectui.decoding.files import cache_folder
from spectui.decoding.trees.isotonic import rising
from spectui.store.files import write_text

VERSION = 7
"""Raised whenever the figures mean something else, so that older records are measured again."""
STILL_READ = (5, 6, VERSION)
"""Versions whose records, kept with sessions, are still right about a round: before 7 all levels were alike, and 5 had
no `Costs.other_node`."""

STEADY = 0.25
"""Quartiles further apart than this share of the median mean that other programs used the machine."""

BEND = 0.05
"""Likely distance, as a share, of a size's time from the line between the sizes beside it."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of an operation that was timed `count` times."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""
    count: int

    @classmethod
    def of(cls, milliseconds: list[float]) -> Timing:
        """Median and quartiles. Raises `ValueError` for none."""
        if not milliseconds:
            raise ValueError("nothing was timed")
        low, median, high = np.quantile(milliseconds, [0.25, 0.5, 0.75]).tolist()
        return cls(median, low, high, len(milliseconds))


@dataclass(frozen=True)
class Machine:
    """Everything that decides the time of a forward. Models are a name and a digest of their architecture."""

    target: str
    drafter: str
    device: str
    dtype: str
    threads: int
    torch: str


@dataclass(frozen=True)
class Costs:
    """A record: the costs of a round's parts on `machine`."""

    machine: Machine
    verify: dict[int, Timing]
    """Time of one target forward, by its rows (nodes and root), behind a prefix of `prefix` tokens."""
    draft: dict[int, Timing]
    """Time of drafting a tree, by its levels; empty where it is free."""
    other: Timing
    """Time of the rest of a round without nodes: acceptance, figures, the cache."""
    prefix: int
    measured_at: str
    """UTC, ISO 8601."""
    other_node: float = 0.0
    """Milliseconds that each node adds to the rest."""

    @property
    def steady(self) -> bool:
        """True where the machine was otherwise idle while verification was timed."""
        spread = np.median([(t.high - t.low) / t.median for t in self.verify.values()])
        return bool(spread <= STEADY)

    def verify_ms(self, rows: float) -> float:
        """Milliseconds of a forward of `rows`, interpolated linearly between the measured sizes.

        More rows never cost less: medians that fall are noise, and share their mean. Beyond the largest measured size
        the curve keeps the slope that it has had since half that size: the last two may be neighbours, beside a step.
        """
        x, y = self._curve
        if rows <= x[-1] or len(x) == 1:
            return float(np.interp(rows, x, y))
        half = max(x[-1] / 2.0, x[0])
        return float(y[-1] + (rows - x[-1]) * (y[-1] - np.interp(half, x, y)) / (x[-1] - half))

    def draft_ms(self, levels: float) -> float:
        """Milliseconds of drafting a tree of `levels`, interpolated linearly between the measured ones.

        No levels take no time, and more never less than fewer. Beyond the deepest tree that was timed the slope is that
        between the last two.
        """
        x, y = self._levels
        if levels <= x[-1] or len(x) == 1:
            return float(np.interp(levels, x, y))
        return float(y[-1] + (levels - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2]))

    def other_ms(self, nodes: float) -> float:
        """Milliseconds of a round with `nodes` that neither drafting nor verifying takes."""
        return self.other.median + self.other_node * nodes

    @cached_property
    def _levels(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Levels, from none on, and milliseconds of drafting them."""
        levels = sorted(self.draft)
        ms = np.maximum.accumulate([0.0, *(self.draft[n].median for n in levels)])
        return np.asarray([0, *levels], dtype=np.float64), ms

    @cached_property
    def _curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows and milliseconds: the medians, smoothed as far as their noise goes, then isotonic regression."""
        rows = sorted(self.verify)
        ms = _smoothed(rows, [self.verify[n] for n in rows]).tolist()
        return np.asarray(rows, dtype=np.float64), rising(ms, [1] * len(ms))

    def round_ms(self, nodes: float, levels: float) -> float:
        """Milliseconds of a round that drafts and verifies a tree of `nodes` in `levels`."""
        return self.draft_ms(levels) + self.verify_ms(nodes + 1) + self.other_ms(nodes)


def _smoothed(rows: list[int], timings: list[Timing]) -> NDArray[np.float64]:
    """The likeliest milliseconds behind the medians of `timings` at `rows`, ascending.

    Least squares: a median is off by its standard error, 1.25 sigma / sqrt(n) with sigma from the quartiles; and a
    point is off the line between its neighbours by `BEND` of itself. Where a machine was idle the medians stay, steps
    of its kernels included; where it was busy, random bumps are removed, which would make trees of one size look better
    than those a node larger or smaller. None is less than half of the least median: a line through a few noisy ones may
    go below zero.
    """
    count = len(rows)
    y = np.asarray([timing.median for timing in timings])
    size = np.maximum(y, 1e-6)
    error = [1.25 * (t.high - t.low) / (1.35 * t.count**0.5) for t in timings]
    weights = 1.0 / np.maximum(error, 1e-5 * size) ** 2
    matrix, right_side = np.diag(weights), weights * y
    for i in range(1, count - 1):
        part = (rows[i] - rows[i - 1]) / (rows[i + 1] - rows[i - 1])
        off = np.zeros(count)
        off[i - 1 : i + 2] = part - 1.0, 1.0, -part
        matrix += np.outer(off, off) / (BEND * size[i]) ** 2
    smoothed: NDArray[np.float64] = np.linalg.solve(matrix, right_side)
    return smoothed.clip(min=y.min() / 2)


def folder() -> Path:
    """The folder of the records."""
    return cache_folder() / "costs"


def load(machine: Machine) -> Costs | None:
    """The record of `machine`; None where there is none that can be read."""
    costs = _read(_path(machine))
    return costs if costs is not None and costs.machine == machine else None


def load_all() -> list[Costs]:
    """Every record that `load` can return, newest first."""
    records = [
        costs for path in folder().glob("*.json") if (costs := _read(path)) and path == _path(costs.machine)
    ]
    return sorted(records, key=lambda costs: costs.measured_at, reverse=True)


def save(costs: Costs) -> None:
    """Keep a record, whole or not at all. Raises `OSError` where the cache folder cannot be written."""
    write_text(_path(costs.machine), to_json(costs))


def _path(machine: Machine) -> Path:
    key = json.dumps([VERSION, asdict(machine)], sort_keys=True).encode()
    return folder() / f"{hashlib.sha256(key).hexdigest()[:16]}.json"


def to_json(costs: Costs) -> str:
    """One JSON object; `from_dict` reads it."""
    return json.dumps({"version": VERSION, **asdict(costs)}, indent=1)


def from_dict(data: Any) -> Costs | None:
    """The record that `to_json` wrote; None for other data, and for versions that are read no longer."""
    try:
        data = dict(data)
        if data.pop("version") not in STILL_READ:
            return None
        data["machine"] = Machine(**data["machine"])
        if "draft_level" in data:
            data["draft"] = {1: data.pop("draft_level")}
        for name in ("verify", "draft"):
            data[name] = {int(size): Timing(**timing) for size, timing in data[name].items()}
        data["other"] = Timing(**data["other"])
        return Costs(**data)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _read(path: Path) -> Costs | None:
    try:
        return from_dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None
