"""From the engine's rounds to the store's rows."""

from __future__ import annotations

import math

import numpy as np

from spectui.decoding.rounds import Round
from spectui.decoding.trees.shape import ROOT
from spectui.store.records import NodeRecord, RoundRecord


def to_record(round_: Round, *, extra_ms: float = 0.0, choice_id: int | None = None) -> RoundRecord:
    """The row of a round and of its nodes; what a drafter does not know becomes None.

    `extra_ms` is time spent on the round before outside the engine (recording, text) and counts as
    other time, so that the three durations add up to the wall time of decoding.
    """
    tree = round_.tree
    nodes = [
        NodeRecord(idx, None if parent == ROOT else parent, *rest)
        for idx, (parent, *rest) in enumerate(
            zip(
                tree.parent.tolist(),
                tree.depth.tolist(),
                tree.rank.tolist(),
                tree.token.tolist(),
                _known(np.exp(tree.draft_logprob)),
                round_.target_p.tolist(),
                _known(tree.draft_entropy),
                round_.target_entropy.tolist(),
                round_.match.tolist(),
                round_.accepted.tolist(),
                strict=True,
            )
        )
    ]
    return RoundRecord(
        number=round_.number,
        prefix_length=round_.prefix_length,
        accepted_length=len(round_.path),
        bonus_token_id=round_.bonus,
        cut=round_.cut,
        draft_ms=round_.draft_ms,
        verify_ms=round_.verify_ms,
        other_ms=round_.other_ms + extra_ms,
        nodes=nodes,
        choice_id=choice_id,
    )


def _known(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(v) else v for v in values.tolist()]
