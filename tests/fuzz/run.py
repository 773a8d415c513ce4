"""Runs the targets with hypothesis, each a number of times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz.targets import Targets


def fuzz(
    folder: Path, cases: int, number: int, tell: Callable[[str, int], None] = lambda name, n: None
) -> int:
    """Give at least `cases` inputs to the targets; returns how many it were. Raises what a target raises."""
    targets = Targets(folder).all()
    shares = sum(share for _, _, share in targets.values())
    total = 0
    for name, (made, target, share) in targets.items():
        count = _many(made, target, -(-cases * share // shares), number)
        tell(name, count)
        total += count
    return total


def _many(made: SearchStrategy[Any], target: Callable[[Any], None], cases: int, number: int) -> int:
    count = 0

    @seed(number)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(made)
    def run(case: Any) -> None:
        nonlocal count
        count += 1
        target(case)

    run()
    return count
