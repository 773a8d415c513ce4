"""How long the parts of a round take while a run goes on, against what was measured before it began."""

from __future__ import annotations

from decoding.costs import Costs

FIRST = 30.0
"""Rounds that the costs measured before the run weigh as much as."""
KEEP = 0.99
"""Of each round's weight what is left one round later: the last hundred rounds count."""
OUTLIER = 3.0
"""A part that took so many times what it was expected to counts as that: something else had the machine."""

DRAFT, VERIFY, OTHER = range(3)


class Pace:
    """Corrects measured costs part by part. Trees differ in how much they draft and how much they verify, so
    a machine that is slower altogether changes nothing among them; one that only drafts slower does."""

    def __init__(self, costs: Costs) -> None:
        self._level, self._other = costs.draft_level.median, costs.other.median
        self._costs = costs
        self._verify: dict[int, float] = {}
        typical = (2.0 * self._level, self._curve(4), self._other)
        self._due = [FIRST * ms for ms in typical]
        self._took = list(self._due)
        self.factors = [1.0, 1.0, 1.0]
        """What drafting, verifying and the rest take, as shares of what was measured."""

    def observe(self, nodes: int, levels: int, took: tuple[float, float, float]) -> None:
        """A round drafted `levels` and verified `nodes`; its three parts took so many milliseconds."""
        expected = (self._level * levels, self._curve(nodes), self._other)
        for part, (due, ms) in enumerate(zip(expected, took, strict=True)):
            self._due[part] = KEEP * self._due[part] + due
            self._took[part] = KEEP * self._took[part] + min(ms, OUTLIER * due * self.factors[part])
            if self._due[part] > 0.0:
                self.factors[part] = self._took[part] / self._due[part]

    def ms(self, nodes: int, levels: int) -> float:
        """Of a round, as it goes by now."""
        draft, verify, other = self.factors
        return draft * self._level * levels + verify * self._curve(nodes) + other * self._other

    def _curve(self, nodes: int) -> float:
        if nodes not in self._verify:
            self._verify[nodes] = self._costs.verify_ms(nodes + 1)
        return self._verify[nodes]
