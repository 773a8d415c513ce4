"""How long the parts of a round take while a run goes on, against what was measured before it began."""

from __future__ import annotations

from decoding.costs import Costs

FIRST = 30.0
"""Rounds that the costs measured before the run weigh as much as."""
KEEP = 0.99
"""Of each round's weight what is left one round later: the last hundred rounds count."""
NOISE, BEND = 0.1, 0.5
"""By how much rounds of one tree differ, as a share; and what nodes add may differ from what the root takes."""
OUTLIER = 3.0
"""A part that took so many times what it was expected to counts as that: something else had the machine."""

DRAFT, VERIFY, OTHER = range(3)
FEW, TYPICAL = 0, 4
"""Nodes of trees."""


class Pace:
    """Corrects measured costs part by part. Trees differ in how much they draft and how much they verify, so
    a machine that is slower altogether changes nothing among them; one that only drafts slower does, and so does one
    on which nodes cost more than was measured. Verification is a forward of the root, `forward` times what was
    measured, and `nodes` times what nodes were measured to add, by ridge regression.
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
        self.forward = self.nodes = 1.0
        """Of verifying: what the root takes, and what the nodes add."""
        self._root = self._curve(FEW)
        root, more = self._root, self._more(TYPICAL)
        # Sums of root², root·more, more², took·root, took·more.
        self._sums = [
            FIRST * each
            for each in (root**2, root * more, more**2, (root + more) * root, (root + more) * more)
        ]
        self._bend = (NOISE / BEND * self._curve(TYPICAL)) ** 2

    def observe(self, nodes: int, levels: int, took: tuple[float, float, float]) -> None:
        """A round drafted `levels` and verified `nodes`; its three parts took so many milliseconds."""
        expected = (self._level * levels, self._curve(nodes), self._other)
        for part, (due, ms) in enumerate(zip(expected, took, strict=True)):
            self._due[part] = KEEP * self._due[part] + due
            self._took[part] = KEEP * self._took[part] + min(ms, OUTLIER * due * self.factors[part])
            if self._due[part] > 0.0:
                self.factors[part] = self._took[part] / self._due[part]
        self._verified(nodes, min(took[VERIFY], OUTLIER * self._verify_ms(nodes)))

    def ms(self, nodes: int, levels: int) -> float:
        """Of a round, as it goes by now."""
        draft, _, other = self.factors
        return draft * self._level * levels + self._verify_ms(nodes) + other * self._other

    def _verified(self, nodes: int, ms: float) -> None:
        root, more = self._root, self._more(nodes)
        seen = (root**2, root * more, more**2, ms * root, ms * more)
        self._sums = [KEEP * before + now for before, now in zip(self._sums, seen, strict=True)]
        a, b, c, x, y = self._sums
        a, b, c = a + self._bend, b - self._bend, c + self._bend
        determinant = a * c - b * b
        if determinant > 0.0:
            self.forward = max((x * c - y * b) / determinant, 0.0)
            self.nodes = max((a * y - b * x) / determinant, 0.0)

    def _verify_ms(self, nodes: int) -> float:
        return self.forward * self._root + self.nodes * self._more(nodes)

    def _more(self, nodes: int) -> float:
        return self._curve(nodes) - self._curve(FEW)

    def _curve(self, nodes: int) -> float:
        if nodes not in self._verify:
            self._verify[nodes] = self._costs.verify_ms(nodes + 1)
        return self._verify[nodes]
