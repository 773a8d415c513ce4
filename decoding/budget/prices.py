"""What a round costs where a session was run: the costs kept with it, or estimated from its own rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from decoding import costs as costs_module
from decoding.budget.walks import Rounds
from decoding.costs import Costs, Machine, Timing
from decoding.errors import DecodingError
from store.rows import SessionSummary

MEASURED = "measured on its machine"
ESTIMATED = "estimated from its own rounds"


@dataclass(frozen=True)
class Priced:
    """Costs, and where they are from."""

    costs: Costs
    source: str

    def ms(self, nodes: int, levels: int) -> float:
        """Of a round; see `Costs.round_ms`."""
        return self.costs.round_ms(nodes, levels)

    @property
    def plain_ms(self) -> float:
        """Of a round that drafts nothing: one token."""
        return self.costs.round_ms(0, 0)


def prices_of(summary: SessionSummary, rounds: Rounds) -> Priced:
    """The costs of a session's rounds. Raises `DecodingError` when nothing tells them."""
    found = None if summary.costs is None else costs_module.from_dict(summary.costs)
    return Priced(found, MEASURED) if found is not None else Priced(_estimated(summary, rounds), ESTIMATED)


def _estimated(summary: SessionSummary, rounds: Rounds) -> Costs:
    """Verification by rows as the rounds of each size took, and one row as plain decoding did."""
    count = len(rounds.prompt)
    if not count or summary.baseline_ms is None:
        raise DecodingError(
            f"session '{summary.name}' says too little about time: it has no rounds, or plain decoding was not "
            "measured; run some prompts first"
        )
    sizes = np.bincount(rounds.nodes.round, minlength=count)
    levels = np.zeros(count, dtype=np.int64)
    np.maximum.at(levels, rounds.nodes.round, rounds.nodes.depth)
    other = Timing.of(rounds.other_ms.tolist())
    verify = {
        int(n) + 1: Timing.of(rounds.verify_ms[sizes == n].tolist())
        for n in np.unique(sizes)
        if n and (sizes == n).sum() >= min(5, count)
    }
    one = max(summary.baseline_ms - other.median, 1e-3)
    verify[1] = Timing(one, one, one, 1)
    drafted = levels > 0
    per_level = (rounds.draft_ms[drafted] / levels[drafted]).tolist() or [0.0]
    machine = Machine(
        summary.target, summary.drafter, summary.device, "", 0, str(summary.versions.get("torch", ""))
    )
    return Costs(machine, dict(sorted(verify.items())), {1: Timing.of(per_level)}, other, 0, "")
