"""The bins of the charts, worked out anew from the nodes; see `store.counts.bins`."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from spectui.store.counts.bins import (
    ENTROPY_AT,
    ENTROPY_BIN_SQL,
    FATES,
    PROBABILITY_BIN_SQL,
    packed,
    unpacked,
)
from spectui.store.counts.metrics import AT_RISK_SQL

BinKey = tuple[int, str]
"""Session and task."""

BINS_SQL = f"""
    SELECT generation.session_id, generation.task, {PROBABILITY_BIN_SQL}, {ENTROPY_BIN_SQL},
           node."match" != 0, coalesce({AT_RISK_SQL}, 0), node.accepted != 0, count(*)
    FROM generation
    JOIN round ON round.generation_id = generation.id
    JOIN node ON node.round_id = round.id
    LEFT JOIN node AS parent ON parent.round_id = node.round_id AND parent.idx = node.parent
    WHERE {{which}} AND (node.draft_p IS NOT NULL OR node.draft_entropy IS NOT NULL)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
"""How many nodes of the prompts (and rounds) that a condition `which` names are in each bin; see `add_up`."""


def count_bins(
    connection: sqlite3.Connection, which: str, only: Mapping[str, int | None]
) -> dict[BinKey, array[int]]:
    """`bins.SIZE` counts of each task of the prompts that the condition `which` names; none where all are 0."""
    return add_up(connection.execute(BINS_SQL.format(which=which), only))


def add_up(rows: Iterable[tuple[Any, ...]]) -> dict[BinKey, array[int]]:
    """The rows of `BINS_SQL` as `bins.SIZE` counts of each task."""
    found: dict[BinKey, array[int]] = {}
    for session, task, probability, entropy, match, risked, accepted, nodes in rows:
        counts = found.setdefault((session, task), unpacked())
        if probability is not None:
            counts[FATES * probability + match + 2 * (risked and risked + accepted)] += nodes
        if entropy is not None:
            counts[ENTROPY_AT + 2 * entropy + match] += nodes
    return found


def write_bins(connection: sqlite3.Connection, counted: Mapping[BinKey, array[int]]) -> None:
    """Put bins into rows of `rollup_task` that have none yet."""
    connection.executemany(
        "UPDATE rollup_task SET bins = ? WHERE session_id = ? AND task = ?",
        [(packed(counts), *key) for key, counts in counted.items()],
    )


def fill_bins(connection: sqlite3.Connection) -> None:
    """Fill the bins of every session that is there. Nodes that were pruned before are in none."""
    whole = "generation.id NOT IN (SELECT generation_id FROM pruned)"
    write_bins(connection, count_bins(connection, whole, {}))
