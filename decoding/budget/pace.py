"""How long the parts of a round take while a run goes on, against what was measured before it began."""

from __future__ import annotations

from decoding.costs import Costs

FIRST = 30.0
"""Rounds that the costs measured before the run weigh as much as."""
KEEP = 0.99
"""Of each round's weight what is left one round later: the last hundred rounds count."""
NOISE, BEND = 0.1, 0.5
"""By how much rounds of one tree differ, as a share; and what nodes add may differ from what was measured."""
OUTLIER = 3.0
"""A part that took so many times what it was expected to counts as that: something else had the machine."""

DRAFT, VERIFY, OTHER = range(3)
TYPICAL = 4
"""Nodes of a tree."""


class Pace:
    """Corrects measured costs part by part. Trees differ in how much they draft and how much they verify, so
    a machine that is slower altogether changes nothing among them; one that only drafts slower does, and so does one
    on which nodes cost more than was measured: where trees of several sizes are verified, `slope` is by how much more
    (least squares, as long as there is little to see drawn to what all of verification takes).
    """

    def __init__(self, costs: Costs) -> None:
        self._level, self._other = costs.draft_level.median, costs.other.median
        self._costs = costs
        self._verify: dict[int, float] = {}
        typical = (2.0 * self._level, self._curve(TYPICAL), self._other)
        self._due = [FIRST * ms for ms in typical]
        self._took = list(self._due)
        self.factors = [1.0, 1.0, 1.0]
        """What drafting, verifying and the rest take, as shares of what was measured."""
        self.slope = 1.0
        """What nodes add to verifying, as a share of what they were measured to add."""
        self._centre = self._curve(TYPICAL)
        self._sums = [0.0] * 5
        """Rounds, and sums of what verifying was due, took, due squared, due times took."""
        self._held = (NOISE / BEND * self._curve(TYPICAL)) ** 2

    def observe(self, nodes: int, levels: int, took: tuple[float, float, float]) -> None:
        """A round drafted `levels` and verified `nodes`; its three parts took so many milliseconds."""
        expected = (self._level * levels, self._curve(nodes), self._other)
        for part, (due, ms) in enumerate(zip(expected, took, strict=True)):
            counted = min(ms, OUTLIER * due * self.factors[part])
            self._due[part] = KEEP * self._due[part] + due
            self._took[part] = KEEP * self._took[part] + counted
            if self._due[part] > 0.0:
                self.factors[part] = self._took[part] / self._due[part]
            if part == VERIFY:
                self._verified(due, counted)

    def ms(self, nodes: int, levels: int) -> float:
        """Of a round, as it goes by now."""
        draft, verify, other = self.factors
        verifying = verify * self._centre + self.slope * (self._curve(nodes) - self._centre)
        return draft * self._level * levels + max(verifying, 0.0) + other * self._other

    def _verified(self, due: float, took: float) -> None:
        seen = (1.0, due, took, due * due, due * took)
        self._sums = [KEEP * before + now for before, now in zip(self._sums, seen, strict=True)]
        rounds, x, y, xx, xy = self._sums
        self._centre = x / rounds
        spread, together = max(xx - x * x / rounds, 0.0), xy - x * y / rounds
        self.slope = max((together + self._held * self.factors[VERIFY]) / (spread + self._held), 0.0)

    def _curve(self, nodes: int) -> float:
        if nodes not in self._verify:
            self._verify[nodes] = self._costs.verify_ms(nodes + 1)
        return self._verify[nodes]
