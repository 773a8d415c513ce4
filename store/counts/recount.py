"""The counts of prompts and rollups, computed anew from rounds and nodes.

Written apart from `store.counts.tally`, in SQL, so that each proves the other. Grouped scans; nothing per node is
done in Python.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spectui.store.counts.bins import (
    ENTROPY_AT,
    ENTROPY_BIN_SQL,
    FATES,
    PROBABILITY_BIN_SQL,
    pack,
    unpack,
)
from spectui.store.counts.metrics import AT_RISK_SQL
from spectui.store.counts.sums import (
    DEPTH_SUMS,
    GENERATION_NAMES,
    GENERATION_SUMS,
    NODE_SQL,
    NODES_SQL,
    ROUND_SUMS,
    TASK_SUMS,
    plus,
)
from spectui.store.errors import StoreError

Key = tuple[int | str, ...]
Sums = dict[str, float | None]
BinKey = tuple[int, str]
"""Session and task."""

_NODES = f"""
    SELECT round.generation_id, node.depth, {", ".join(DEPTH_SUMS.values())}
    FROM generation JOIN {NODES_SQL}
    WHERE round.generation_id = generation.id AND {{which}}
    GROUP BY round.generation_id, node.depth
"""

_ROUNDS = f"""
    SELECT round.generation_id, round.accepted_length, {", ".join(ROUND_SUMS.values())}
    FROM generation
    JOIN round ON round.generation_id = generation.id
    WHERE {{which}}
    GROUP BY round.generation_id, round.accepted_length
"""

_GENERATIONS = """
    SELECT id, session_id, task, status != 'pending'
    FROM generation
    WHERE {which}
"""

_COUNT_EXPLAINED = """
    UPDATE session SET (greedy_rounds, explained_rounds, unexplained_round_id) = (
        SELECT count(explained), coalesce(sum(explained), 0), min(CASE WHEN explained = 0 THEN round.id END)
        FROM generation JOIN round ON round.generation_id = generation.id WHERE session_id = session.id
    )
    WHERE id = ?
"""

_WHOLE = "generation.id NOT IN (SELECT generation_id FROM pruned)"
_PRUNED = """
    SELECT generation.id, generation.session_id, pruned.counts
    FROM pruned JOIN generation ON generation.id = pruned.generation_id
    WHERE {which}
"""


@dataclass
class Recount:
    """Column -> value, by the key of the row it belongs to."""

    generations: dict[Key, Sums] = field(default_factory=dict)
    tasks: dict[Key, Sums] = field(default_factory=dict)
    lengths: dict[Key, Sums] = field(default_factory=dict)
    depths: dict[Key, Sums] = field(default_factory=dict)
    bins: dict[BinKey, array[int]] = field(default_factory=dict)


def recount(
    connection: sqlite3.Connection, session_id: int | None = None, generation_id: int | None = None
) -> Recount:
    """Count a session, all of them, or one prompt. Call within a transaction when others may be writing.

    Prompts whose nodes were pruned count as they did before; sessions that are being deleted do not.
    """
    only = {"session_id": session_id, "generation_id": generation_id}
    if generation_id is not None:
        which = "generation.id = :generation_id"
    else:
        of_sessions = (
            "generation.session_id NOT IN (SELECT id FROM session WHERE deleted_at IS NOT NULL)"
            if session_id is None
            else "generation.session_id = :session_id"
        )
        which = f"{of_sessions} AND {_WHOLE}"
    total = Recount()
    owner: dict[int, tuple[int, str]] = {}
    for generation, session, task, started in connection.execute(_GENERATIONS.format(which=which), only):
        owner[generation] = (session, task)
        total.generations[(generation,)] = dict.fromkeys(GENERATION_SUMS, 0)
        if started:
            _add(total.tasks.setdefault((session, task), dict.fromkeys(TASK_SUMS, 0)), {"prompts": 1})
    for generation, length, *sums in connection.execute(_ROUNDS.format(which=which), only):
        session, task = owner[generation]
        added = dict(zip(ROUND_SUMS, sums, strict=True))
        # Accepted nodes are counted below: a round's accepted length is what they have to agree with.
        del added["accepted_count"]
        _add(total.lengths.setdefault((session, task, length), {"rounds": 0}), {"rounds": added["rounds"]})
        _add(total.tasks.setdefault((session, task), dict.fromkeys(TASK_SUMS, 0)), added)
        _add(total.generations[(generation,)], _of_generation(added))
    for generation, depth, *sums in connection.execute(_NODES.format(which=which), only):
        session, task = owner[generation]
        added = dict(zip(DEPTH_SUMS, sums, strict=True))
        _add(total.depths.setdefault((session, task, depth), dict.fromkeys(DEPTH_SUMS, 0)), added)
        added = {name: added[name] for name in ("nodes", *NODE_SQL)}
        _add(total.tasks.setdefault((session, task), dict.fromkeys(TASK_SUMS, 0)), added)
        _add(total.generations[(generation,)], _of_generation(added))
    total.bins = count_bins(connection, which, only)
    if generation_id is None:
        for generation, session, counts in connection.execute(_PRUNED.format(which=of_sessions), only):
            _add_kept(total, generation, session, counts)
    return total


def to_json(total: Recount) -> str:
    """The counts of one prompt as JSON, without the ids of prompt and session; see `_add_kept`."""
    (generation,) = total.generations.values()
    rollups = {
        table: [[list(key[1:]), sums] for key, sums in rows.items()] for table, _, rows in tables(total)
    }
    bins = {task: list(counts) for (_, task), counts in total.bins.items()}
    return json.dumps({"generation": generation, "bins": bins, **rollups})


def _add_kept(total: Recount, generation: int, session: int, counts: str) -> None:
    try:
        kept: dict[str, Any] = json.loads(counts)
        total.generations[(generation,)] = _checked(kept["generation"])
        for table, keys, rows in tables(total):
            for rest, sums in kept.get(table, ()):
                if len(rest) != len(keys) - 1:
                    raise ValueError("a key of another table")
                _add(rows.setdefault((session, *rest), dict.fromkeys(_checked(sums), 0.0)), sums)
        for task, counted in kept.get("bins", {}).items():
            bins = total.bins.setdefault((session, task), unpack())
            for place, number in enumerate(counted):
                bins[place] += number
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise StoreError(f"the counts kept of the pruned prompt {generation} are damaged") from error


def _checked(sums: dict[str, Any]) -> Sums:
    """`sums`, refused when they are not as written here: their names go into SQL."""
    if not all(name.isidentifier() and isinstance(value, int | float | None) for name, value in sums.items()):
        raise ValueError("no sums")
    if "match_count" in sums:  # kept by a spectui that knew whether each node matched
        sums.setdefault("unjudged_count", 0)
    return sums


def rebuild(connection: sqlite3.Connection, session_id: int) -> None:
    """Replace a session's sums, rollups and counts of explained rounds by a recount. Call within a transaction."""
    counts = recount(connection, session_id)
    connection.executemany(
        f"UPDATE generation SET {', '.join(f'{c} = :{c}' for c in GENERATION_SUMS)} WHERE id = :id",
        [sums | {"id": key[0]} for key, sums in counts.generations.items()],
    )
    for table, keys, rows in tables(counts):
        connection.execute(f"DELETE FROM {table} WHERE session_id = ?", (session_id,))
        for key, sums in rows.items():
            columns = (*keys, *sums)
            connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
                (*key, *sums.values()),
            )
    write_bins(connection, counts.bins)
    connection.execute(_COUNT_EXPLAINED, (session_id,))


def tables(counts: Recount) -> list[tuple[str, tuple[str, ...], dict[Key, Sums]]]:
    """Each rollup table, its key columns, and its rows."""
    return [
        ("rollup_task", ("session_id", "task"), counts.tasks),
        ("rollup_length", ("session_id", "task", "accepted_length"), counts.lengths),
        ("rollup_depth", ("session_id", "task", "depth"), counts.depths),
    ]


def _of_generation(sums: Sums) -> Sums:
    """Sums of a task under the names that a prompt has them by."""
    return {GENERATION_NAMES.get(name, name): value for name, value in sums.items()}


def _add(sums: Sums, more: Sums) -> None:
    for column, value in more.items():
        sums[column] = plus(sums[column], value)


BINS_SQL = f"""
    SELECT generation.session_id, generation.task, {PROBABILITY_BIN_SQL}, {ENTROPY_BIN_SQL},
           node."match" != 0, coalesce({AT_RISK_SQL}, 0), node.accepted != 0, count(*)
    FROM generation JOIN {NODES_SQL}
    WHERE round.generation_id = generation.id AND {{which}}
        AND node."match" IS NOT NULL AND (node.draft_p IS NOT NULL OR node.draft_entropy IS NOT NULL)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
"""Nodes per bin, of the prompts (and rounds) that a condition `which` names; see `add_up`."""


def count_bins(
    connection: sqlite3.Connection, which: str, only: Mapping[str, int | None]
) -> dict[BinKey, array[int]]:
    """`bins.SIZE` counts of each task of the prompts that the condition `which` names; none where all are 0."""
    return add_up(connection.execute(BINS_SQL.format(which=which), only))


def add_up(rows: Iterable[tuple[Any, ...]]) -> dict[BinKey, array[int]]:
    """The rows of `BINS_SQL` as `bins.SIZE` counts of each task."""
    bins: dict[BinKey, array[int]] = {}
    for session, task, probability, entropy, match, risked, accepted, nodes in rows:
        counts = bins.setdefault((session, task), unpack())
        if probability is not None:
            counts[FATES * probability + match + 2 * (risked and risked + accepted)] += nodes
        if entropy is not None:
            counts[ENTROPY_AT + 2 * entropy + match] += nodes
    return bins


def write_bins(connection: sqlite3.Connection, counted: Mapping[BinKey, array[int]]) -> None:
    """Put bins into rows of `rollup_task` that have none yet."""
    connection.executemany(
        "UPDATE rollup_task SET bins = ? WHERE session_id = ? AND task = ?",
        [(pack(counts), *key) for key, counts in counted.items()],
    )


def fill_bins(connection: sqlite3.Connection) -> None:
    """Fill the bins of every session that is there. Nodes that were pruned before are in none."""
    whole = "generation.id NOT IN (SELECT generation_id FROM pruned)"
    write_bins(connection, count_bins(connection, whole, {}))
