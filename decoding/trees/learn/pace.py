"""How long the parts of a round take while a run goes on, against what was measured before it began."""

from __future__ import annotations

import math

from spectui.decoding.trees.costs import Costs

FIRST = 30.0
"""Rounds that the costs measured before the run weigh as much as."""
KEEP = 0.99
"""Of each round's weight what is left one round later: the last hundred rounds count."""
KEEP_SLOPE = 0.999
"""The same of what nodes add, which belongs to the machine more than to the minute."""
NOISE, BEND = 0.1, 0.5
"""By how much two rounds in a row differ, as a share; and what nodes add may differ from what was measured."""
OUTLIER = 3.0
"""A part that took so many times what it was expected to counts as that: something else had the machine."""
FAR = 2.0
"""The same of the difference of two rounds, in standard errors from what is expected."""

DRAFT, VERIFY, OTHER = range(3)
TYPICAL, TYPICAL_LEVELS = 4, 2
"""Nodes and levels of a tree."""


class Pace:
    """Corrects measured costs part by part. Trees differ in how much they draft and how much they verify, so
    a machine that is slower altogether changes nothing among them; one that only drafts slower does, and so does one
    on which nodes cost more than was measured. What nodes add is told from each two rounds in a row of different
    sizes, as a machine that is busy for a while is busy for both (least squares, drawn to what all of verification
    takes as long as there is little to see).
    """

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._verify: dict[int, float] = {}
        typical = (costs.draft_ms(TYPICAL_LEVELS), self._curve(TYPICAL), costs.other_ms(TYPICAL))
        self._due = [FIRST * ms for ms in typical]
        self._took = list(self._due)
        self.factors = [1.0, 1.0, 1.0]
        """What drafting, verifying and the rest take, as shares of what was measured."""
        self._rounds, self._verified = 0.0, 0.0
        """Rounds, and what verifying them was due."""
        self._before: tuple[float, float] | None = None
        """What verifying the last round was due, and took."""
        self._squares, self._products = 0.0, 0.0
        """Of differences between two rounds: due squared, due times took."""
        self._held = (NOISE / BEND * self._curve(TYPICAL)) ** 2

    @property
    def slope(self) -> float:
        """What nodes add to verifying, as a share of what they were measured to add."""
        drawn = self._held * self.factors[VERIFY]
        return max((self._products + drawn) / (self._squares + self._held), 0.0)

    def observe(self, nodes: int, levels: int, took: tuple[float, float, float]) -> None:
        """A round drafted `levels` and verified `nodes`; its three parts took so many milliseconds."""
        expected = (self._costs.draft_ms(levels), self._curve(nodes), self._costs.other_ms(nodes))
        for part, (due, ms) in enumerate(zip(expected, took, strict=True)):
            counted = min(ms, OUTLIER * due * self.factors[part])
            self._due[part] = KEEP * self._due[part] + due
            self._took[part] = KEEP * self._took[part] + counted
            if self._due[part] > 0.0:
                self.factors[part] = self._took[part] / self._due[part]
            if part == VERIFY:
                self._compare(due, counted)

    def ms(self, nodes: int, levels: int) -> float:
        """Of a round, as it goes by now."""
        draft, verify, other = self.factors
        centre = self._centre
        verifying = verify * centre + self.slope * (self._curve(nodes) - centre)
        return (
            draft * self._costs.draft_ms(levels) + max(verifying, 0.0) + other * self._costs.other_ms(nodes)
        )

    def error(self, nodes: int, others: int) -> float:
        """Standard error, in milliseconds, of by how much verifying trees of two sizes differs."""
        of_slope = self._noise / math.sqrt(self._squares + self._held)
        return of_slope * abs(self._curve(nodes) - self._curve(others))

    @property
    def _centre(self) -> float:
        return self._verified / self._rounds if self._rounds else self._curve(TYPICAL)

    @property
    def _noise(self) -> float:
        return NOISE * self.factors[VERIFY] * self._centre

    def _compare(self, due: float, took: float) -> None:
        """A round with the one before it."""
        before, self._before = self._before, (due, took)
        self._rounds, self._verified = KEEP * self._rounds + 1.0, KEEP * self._verified + due
        if before is None or due == before[0]:
            return
        more, expected = due - before[0], self.slope * (due - before[0])
        off = took - before[1] - expected
        seen = expected + min(max(off, -FAR * self._noise), FAR * self._noise)
        self._squares = KEEP_SLOPE * self._squares + more * more
        self._products = KEEP_SLOPE * self._products + more * seen

    def _curve(self, nodes: int) -> float:
        if nodes not in self._verify:
            self._verify[nodes] = self._costs.verify_ms(nodes + 1)
        return self._verify[nodes]
