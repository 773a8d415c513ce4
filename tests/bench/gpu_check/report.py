"""Lines of JSON, one for each figure and verdict, and the time that is left for more of them."""

from __future__ import annotations

import json
import math
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from tests.bench.gpu_check import STARTED

NOTHING_CHECKED = "nothing checked"
TIMES = {"ms", "s", "us", "GB/s", "tok/s", "x", "share"}
"""Units of figures that mean nothing where shapes are tiny or the device is no GPU."""


@dataclass(frozen=True)
class Setting:
    """The device, and sizes of models."""

    device: torch.device
    tiny: bool

    @property
    def on_gpu(self) -> bool:
        """True where forwards are captured, and work does not wait for the host."""
        return self.device.type == "cuda"

    @property
    def real(self) -> bool:
        """True where times mean something."""
        return self.on_gpu and not self.tiny


class Report:
    """Prints and writes each line at once. `failures` are the names of checks that did not hold, and of errors."""

    def __init__(self, setting: Setting, out: TextIO | None = None, budget: float = math.inf) -> None:
        self.setting = setting
        self.failures: list[str] = []
        self.skipped: list[str] = []
        self.checks = 0
        """Verdicts so far."""
        self.bandwidth: float | None = None
        """Bytes a second of the device's memory, once they are measured."""
        self._out, self._budget, self._section = out, budget, ""

    def line(self, **values: Any) -> None:
        """Write one line."""
        section = {"section": self._section} if self._section else {}
        whole = {"at": round(time.monotonic() - STARTED, 2), **section, **values}
        text = json.dumps(_finite(whole), default=str, allow_nan=False)
        if self._out is not None:  # first: what was seen on the screen is in the file, whenever it is killed
            self._out.write(text + "\n")
            self._out.flush()
        print(text, flush=True)

    def figure(self, name: str, value: float | None, unit: str = "", **of: Any) -> None:
        """A figure, `of` what it is; None where it cannot be measured."""
        rounded = None if value is None else float(f"{value:.5g}")
        void = {"void": True} if unit in TIMES and not self.setting.real else {}
        self.line(figure=name, value=rounded, **({"unit": unit} if unit else {}), **of, **void)

    def check(self, name: str, holds: bool, **facts: Any) -> None:
        """A verdict."""
        self.checks += 1
        if not holds:
            self.failures.append(f"{self._section}: {name}")
        self.line(check=name, holds=bool(holds), **facts)

    def skip(self, name: str, reason: str) -> None:
        """A part that is left out, and the reason."""
        self.skipped.append(f"{self._section}: {name}")
        self.line(skipped=name, reason=reason)

    def repeat(self, line: dict[str, Any]) -> None:
        """A line that a process of this section's own has written, as if it were written here."""
        facts = {name: value for name, value in line.items() if name not in ("at", "section")}
        if "check" in facts:
            self.check(facts.pop("check"), facts.pop("holds"), **facts)
        elif "skipped" in facts:
            self.skip(facts["skipped"], facts["reason"])
        else:
            if "raised" in facts:
                self.failures.append(f"{self._section}: {facts.get('part') or 'an exception'}")
            self.line(**facts)

    @property
    def verdict(self) -> str:
        """Of all checks so far."""
        return "failed" if self.failures else "holds" if self.checks else NOTHING_CHECKED

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """An exception inside is written down with all that caused it, and ends the part `name` alone."""
        try:
            yield
        except Exception as error:
            self.failures.append(f"{self._section}: {name}: {type(error).__name__}")
            self.line(part=name, raised=causes(error))

    @property
    def seconds_left(self) -> float:
        """Of the budget."""
        return self._budget - (time.monotonic() - STARTED)

    def fits(self, name: str, seconds: float) -> bool:
        """True when `seconds` are left for `name`; says so when they are not."""
        if seconds <= self.seconds_left:
            return True
        self.skip(name, f"takes about {seconds:.0f} s, and {max(self.seconds_left, 0.0):.0f} s are left")
        return False

    @contextmanager
    def section(self, letter: str, title: str) -> Iterator[None]:
        """Lines inside belong to a section, which an exception ends alone."""
        self._section = letter
        print(f"{letter}. {title}", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            with self.attempt(title):
                yield
        finally:
            self.line(finished=title, seconds=round(time.monotonic() - began, 2))
            self._section = ""


def causes(error: BaseException) -> list[str]:
    """`error` and what it arose from, the first cause last: CUDA names a failed capture's in ``__context__`` alone.

    Each with the innermost lines that are no library's.
    """
    lines: list[str] = []
    each: BaseException | None = error
    while each is not None and len(lines) < 8:
        frames = [f for f in traceback.extract_tb(each.__traceback__) if "site-packages" not in f.filename]
        places = [f"{Path(f.filename).name}:{f.lineno}: {f.line}" for f in reversed(frames[-6:])]
        lines.append(f"{type(each).__name__}: {' '.join(str(each).split())[:400]} [{' < '.join(places)}]")
        each = each.__cause__ or each.__context__
    return lines


def _finite(value: Any) -> Any:
    """`value` without the numbers that JSON has no words for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
