"""Bins of the charts, defined once: draft entropy by match, and draft probability against acceptance.

The counts of one task are one array of unsigned 32-bit numbers in the machine-independent little-endian
order, kept as a BLOB in its row of `rollup_task`; empty until the drafter has given a probability. One BLOB
rather than a row a bin, because a round touches a dozen bins and rewriting half a kilobyte in a row that
is being updated anyway costs a tenth of a dozen upserts.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from spectui.store.counts import metrics

ENTROPY_STEP = 0.25
"""Nats in an entropy bin."""
ENTROPY_BINS = 21
"""The last is open: from 5 nats on."""
PROBABILITY_BINS = 20
"""Bins of 0.05; the last includes 1."""

FATES = 6
"""Counts of a probability bin, by what became of its nodes: a node adds to the one numbered match + 2 at risk
+ 2 accepted, so that it is one step of the hot path."""
ENTROPY_AT = PROBABILITY_BINS * FATES
SIZE = ENTROPY_AT + ENTROPY_BINS * 2
"""Counts of a task: the probability bins, then unmatched and matched nodes of each entropy bin."""

ENTROPY_TOP = ENTROPY_STEP * (ENTROPY_BINS - 1)

ENTROPY_BIN_SQL = f"""
    CASE WHEN node.draft_entropy IS NULL THEN NULL
         WHEN node.draft_entropy >= {ENTROPY_TOP} THEN {ENTROPY_BINS - 1}
         WHEN node.draft_entropy < 0 THEN 0
         ELSE CAST(node.draft_entropy / {ENTROPY_STEP} AS INTEGER) END
"""
"""`entropy_bin` of a row of `node`."""

PROBABILITY_BIN_SQL = f"""
    CASE WHEN node.draft_p IS NULL OR node.target_p IS NULL THEN NULL
         WHEN node.draft_p >= 1 THEN {PROBABILITY_BINS - 1}
         WHEN node.draft_p < 0 THEN 0
         ELSE CAST(node.draft_p * {PROBABILITY_BINS}.0 AS INTEGER) END
"""
"""`probability_bin` of a row of `node`."""


def entropy_bin(entropy: float) -> int:
    """The bin of a draft entropy in nats, which is no NaN."""
    return int(min(max(entropy, 0.0), ENTROPY_TOP) / ENTROPY_STEP)


def probability_bin(probability: float) -> int:
    """The bin of a draft probability, which is no NaN."""
    return min(int(max(probability, 0.0) * PROBABILITY_BINS), PROBABILITY_BINS - 1)


def pack(counts: array[int]) -> bytes:
    """Counts as they are stored; `unpack` is the inverse."""
    if sys.byteorder == "big":
        counts = counts[:]
        counts.byteswap()
    return counts.tobytes()


def unpack(blob: bytes = b"") -> array[int]:
    """`SIZE` counts from a stored BLOB; zeros where it is empty or of another length."""
    out = array("I")
    out.frombytes(blob if len(blob) == SIZE * out.itemsize else bytes(SIZE * out.itemsize))
    if sys.byteorder == "big":
        out.byteswap()
    return out


@dataclass(frozen=True)
class ProbabilityBin:
    """The nodes whose draft probability lies in one bin."""

    low: float
    high: float
    nodes: int
    matched: int
    at_risk: int
    accepted: int

    @property
    def match_rate(self) -> float | None:
        """Share of the nodes that are the target's argmax."""
        return metrics.match_rate(self.matched, self.nodes)

    @property
    def acceptance(self) -> float | None:
        """Share of the nodes at risk that were accepted."""
        return metrics.accepted_at_risk(self.accepted, self.at_risk)


@dataclass(frozen=True)
class EntropyBin:
    """The nodes at whose parent the draft's entropy lies in one bin; `high` is infinite for the last."""

    low: float
    high: float
    unmatched: int
    matched: int


@dataclass(frozen=True)
class Bins:
    """The bins of one task, or of several together."""

    probability: tuple[ProbabilityBin, ...]
    entropy: tuple[EntropyBin, ...]

    def __add__(self, other: Bins) -> Bins:
        probability = (
            replace(
                a,
                nodes=a.nodes + b.nodes,
                matched=a.matched + b.matched,
                at_risk=a.at_risk + b.at_risk,
                accepted=a.accepted + b.accepted,
            )
            for a, b in zip(self.probability, other.probability, strict=True)
        )
        entropy = (
            replace(a, unmatched=a.unmatched + b.unmatched, matched=a.matched + b.matched)
            for a, b in zip(self.entropy, other.entropy, strict=True)
        )
        return Bins(tuple(probability), tuple(entropy))

    @property
    def empty(self) -> bool:
        """True when nothing is counted: no nodes yet, or a drafter without probabilities."""
        return not any(b.nodes for b in self.probability) and not any(
            b.unmatched + b.matched for b in self.entropy
        )


def bins_of(counts: Sequence[int]) -> Bins:
    """`SIZE` counts by name."""
    entropy = tuple(
        EntropyBin(
            i * ENTROPY_STEP,
            (i + 1) * ENTROPY_STEP if i < ENTROPY_BINS - 1 else float("inf"),
            *counts[ENTROPY_AT + 2 * i : ENTROPY_AT + 2 * i + 2],
        )
        for i in range(ENTROPY_BINS)
    )
    return Bins(tuple(_probability(i, counts[i * FATES :][:FATES]) for i in range(PROBABILITY_BINS)), entropy)


def _probability(index: int, fates: Sequence[int]) -> ProbabilityBin:
    return ProbabilityBin(
        index / PROBABILITY_BINS,
        (index + 1) / PROBABILITY_BINS,
        nodes=sum(fates),
        matched=fates[1] + fates[3] + fates[5],
        at_risk=sum(fates[2:]),
        accepted=fates[4] + fates[5],
    )
