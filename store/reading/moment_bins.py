"""The bins of the charts as they stood at a moment of a session: counted from its nodes, each prompt once.

Rollups keep bins for whole sessions alone (`store.counts.bins`); what a replay needs of them is worked out when one
looks at a chart that shows them.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from spectui.store.counts.bins import Bins, bins_of, unpacked
from spectui.store.counts.recount_bins import BINS_SQL, add_up
from spectui.store.reading.reader import Reader
from spectui.store.rows import GenerationRow

MOST_NODES = 400_000
"""Nodes up to a moment beyond which they are not counted: it would take seconds."""

_COUNTED = BINS_SQL.format(which="generation.id = ? AND round.number <= ?")


class MomentBins:
    """The bins of one session at one moment after the other."""

    def __init__(self) -> None:
        self._whole: dict[int, array[int] | None] = {}

    def at(self, reader: Reader, known: Sequence[GenerationRow], number: int) -> dict[str, Bins] | None:
        """Task -> bins of `known`, the prompts up to the moment's, of whose last `number` rounds are known.

        None when that is more than `MOST_NODES`. Prompts whose nodes were pruned or that a draft gave no
        probabilities for add nothing.
        """
        if sum(row.node_count for row in known) > MOST_NODES:
            return None
        sums: dict[str, array[int]] = {}
        with reader.snapshot():
            for row in known:
                if row.pruned_at:
                    continue
                if row is known[-1]:
                    counts = _counted(reader, row.id, number)
                else:
                    if row.id not in self._whole:
                        self._whole[row.id] = _counted(reader, row.id, row.round_count)
                    counts = self._whole[row.id]
                if counts is not None:
                    before = sums.setdefault(row.task, unpacked())
                    sums[row.task] = array("I", map(int.__add__, before, counts))
        return {task: bins_of(counts) for task, counts in sums.items()}


def _counted(reader: Reader, generation_id: int, number: int) -> array[int] | None:
    rows = (row for chunk in reader.scan(_COUNTED, generation_id, number) for row in chunk)
    return next(iter(add_up(rows).values()), None)
