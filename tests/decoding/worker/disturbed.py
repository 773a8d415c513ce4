"""Sessions on disturbed machines whose true speed-up is known, made in no time: no model, no database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spectui.decoding.worker.baseline import Baselines
from spectui.store.counts.pace import pace
from spectui.store.rows import MOST_APART

TOKEN_MS, ROUND_MS = 27.0, 40.0
"""A plain token and a mean round on the idle machine."""
PREFILL_MS = 150.0


@dataclass(frozen=True)
class Disturbance:
    """Another program's share in a machine."""

    slower: float = 1.0
    """Factor of all times while it computes."""
    jitter: float = 0.05
    """Standard deviation of the logarithm of a time while it computes; without it .05."""
    per_second: float = 0.0
    """Times a second that it holds up a thread..."""
    held_ms: float = 200.0
    """...for so long on average."""
    spans: tuple[float, float] | None = (3.0, 20.0)
    """Seconds that it computes and rests; None where it never rests."""
    drift: float = 0.0
    """Standard deviation, after a minute, of the logarithm of the speed of the machine, which walks at random."""


DISTURBED = {
    "an idle machine": Disturbance(),
    "another program for 3 to 20 s at a time": Disturbance(slower=1.6, jitter=0.2, per_second=2.0),
    "the same, holding rounds up for a second": Disturbance(1.6, 0.2, per_second=2.0, held_ms=1000.0),
    "slow throughout": Disturbance(slower=3.0, jitter=0.2, spans=None),
    "slow and held up throughout": Disturbance(3.0, 0.2, per_second=1.0, spans=None),
    "drifting by half in a minute": Disturbance(drift=0.5),
}


class Told(NamedTuple):
    """The conclusion of a session about the time of a plain token over that of a round."""

    ends: tuple[float, float] | None
    """None where it says that it does not know."""
    measurements: int
    cost: float
    """Share of the run's time that they took, but for the first."""


class _Machine:
    """A machine whose clock goes on with the work that is done on it."""

    def __init__(self, disturbance: Disturbance, rng: np.random.Generator) -> None:
        self.now = 0.0
        self.plain_seconds: list[float] = []
        self._by, self._rng = disturbance, rng
        self._busy, self._until = bool(rng.integers(2)), 0.0
        self._pace = 0.0

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def work(self, ms: float) -> float:
        """Milliseconds that work takes which takes `ms` on an idle machine."""
        by, rng = self._by, self._rng
        while by.spans is not None and self.now >= self._until:
            self._busy = not self._busy
            self._until += rng.uniform(*by.spans)
        busy = self._busy or by.spans is None
        took = (
            ms
            * np.exp(self._pace + rng.normal() * (by.jitter if busy else 0.05))
            * (by.slower if busy else 1.0)
        )
        if busy:
            took += rng.exponential(by.held_ms, rng.poisson(by.per_second * took / 1e3)).sum()
        self._pace += rng.normal() * by.drift * (took / 6e4) ** 0.5
        self.now += took / 1e3
        return float(took)

    def measure(self, prompt: str) -> float:
        """Milliseconds of a plain token."""
        took = self.work(TOKEN_MS)
        self.plain_seconds.append(took / 1e3)
        return took


def session(disturbance: Disturbance, prompts: int, seed: int) -> Told:
    """A session of `prompts`, measured as a run measures it."""
    rng = np.random.default_rng(seed)
    machine = _Machine(disturbance, rng)
    pairs: list[tuple[float, float]] = []

    def fail(text: str) -> None:
        raise AssertionError(text)

    baselines = Baselines(
        machine.measure, 1, lambda ms, _, beside: pairs.append((ms, beside)), fail, machine.clock
    )
    for _ in range(prompts):
        machine.work(PREFILL_MS)
        for _ in range(int(rng.integers(15, 50))):
            # A dynamic tree is larger in one round than in the next.
            nodes = int(rng.integers(1, 10))
            baselines.add_round(machine.work(ROUND_MS * (0.75 + 0.05 * nodes)), nodes)
            if baselines.due:
                baselines.take("a prompt")
    baselines.finish()
    _, ends = pace(pairs) if pairs else (0.0, None)
    if ends is not None and ends[1] > MOST_APART * ends[0]:
        ends = None
    return Told(ends, len(pairs), sum(machine.plain_seconds[1:]) / machine.now)


def coverage(disturbance: Disturbance, prompts: int, sessions: int) -> dict[str, list[float]]:
    """Of sessions: 1 or 0 for "told" and, of those that tell it, "right"; then "width", "measurements", "cost"."""
    figures: dict[str, list[float]] = {"told": [], "right": [], "width": [], "measurements": [], "cost": []}
    for seed in range(sessions):
        told = session(disturbance, prompts, seed)
        figures["told"].append(float(told.ends is not None))
        if told.ends is not None:
            low, high = told.ends
            figures["right"].append(float(low <= TOKEN_MS / ROUND_MS <= high))
            figures["width"].append(high / low - 1)
        figures["measurements"].append(float(told.measurements))
        figures["cost"].append(told.cost)
    return figures


def speedups(sessions: int, share: Callable[[list[float]], str]) -> Iterator[tuple[str, str, str]]:
    """Machine and prompts, figure, share."""
    for prompts in (4, 12, 48, 80):
        for name, disturbance in DISTURBED.items():
            figures = coverage(disturbance, prompts, sessions)
            design = f"speed-up, {prompts} prompts, {name}"
            yield design, "told", share(figures["told"])
            if figures["right"]:
                yield design, "holds the truth", share(figures["right"])
                yield design, "width (median)", f"{np.median(figures['width']):6.1%}"
            yield design, "measurements", f"{np.median(figures['measurements']):.0f}"
            yield design, "cost (mean)", f"{np.mean(figures['cost']):6.2%}"
