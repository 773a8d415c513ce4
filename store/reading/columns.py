"""Rounds and nodes of a session as columns of numbers, for whoever computes over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectui.store.reading.reader import Reader
from spectui.store.rows import GenerationRow

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how far it is and how far it goes; what it raises ends the work."""

_CHUNK = 10_000
"""Rows read at a time: few enough that other threads, such as a dashboard's, get their turn in between."""

_ROUNDS = """
    SELECT round.id, round.generation_id, {columns}
    FROM generation CROSS JOIN round ON round.generation_id = generation.id
    WHERE generation.session_id = ? AND generation.id NOT IN (SELECT generation_id FROM pruned)
    ORDER BY generation.position, round.number
"""
# CROSS JOIN keeps the order of the loops, so that each round's nodes come together and in order.
_NODES = """
    SELECT node.round_id, node.idx, node.parent, {columns}
    FROM generation
    CROSS JOIN round ON round.generation_id = generation.id
    CROSS JOIN node ON node.round_id = round.id
    WHERE generation.session_id = ? AND generation.id NOT IN (SELECT generation_id FROM pruned)
"""


def silent(what: str, done: int, total: int) -> None:
    """A `Progress` that does nothing."""


@dataclass(frozen=True)
class Columns:
    """Rounds [R] in order, prompt by prompt, and their nodes [N], round by round in the order of their numbers."""

    round_prompt: Ints
    """[R], the index of a round's prompt."""
    rounds: Floats
    """[columns, R], as they were asked for; NULL is NaN."""
    node_round: Ints
    """[N], the index of a node's round."""
    parent: Ints
    """[N], the parent's number within the round; -1 for the root."""
    nodes: Floats
    """[columns, N], as they were asked for; NULL is NaN."""

    @property
    def first_node(self) -> Ints:
        """[R], the index of a round's first node: its nodes are numbered from 0 without gaps."""
        return np.searchsorted(self.node_round, np.arange(len(self.round_prompt))).astype(np.int64)


@np.errstate(invalid="raise")
def read_columns(
    reader: Reader,
    session_id: int,
    prompts: Sequence[GenerationRow],
    rounds: Sequence[str],
    nodes: Sequence[str],
    progress: Progress = silent,
) -> Columns:
    """Read the rounds and nodes of `prompts`, which are those of a session or some of them; call within `snapshot`.

    `rounds` and `nodes` are SQL expressions whose values are numbers. Raises `StoreError` when they cannot be read.
    """
    due = (sum(row.round_count for row in prompts), sum(row.node_count for row in prompts))
    of_rounds = _scan(reader, _ROUNDS, session_id, 2, rounds, ("reading rounds", due[0]), progress)
    of_nodes = _scan(reader, _NODES, session_id, 3, nodes, ("reading nodes", due[1]), progress)
    index = {row.id: position for position, row in enumerate(prompts)}
    wanted = np.isin(of_rounds[1], list(index))
    if not wanted.all():
        of_rounds = of_rounds[:, wanted]
        of_nodes = of_nodes[:, np.isin(of_nodes[0], of_rounds[0])]
    by_id = np.argsort(of_rounds[0])
    node_round = np.empty(0, np.int64)
    if len(by_id):
        node_round = by_id[np.searchsorted(of_rounds[0][by_id], of_nodes[0])].astype(np.int64)
    if np.any(np.diff(node_round) < 0):
        order = np.lexsort((of_nodes[1], node_round))
        of_nodes, node_round = of_nodes[:, order], node_round[order]
    return Columns(
        round_prompt=np.array([index[int(prompt)] for prompt in of_rounds[1]], dtype=np.int64),
        rounds=of_rounds[2:],
        node_round=node_round,
        parent=np.where(np.isnan(of_nodes[2]), -1.0, of_nodes[2]).astype(np.int64),
        nodes=of_nodes[3:],
    )


def _scan(
    reader: Reader,
    sql: str,
    session_id: int,
    ids: int,
    columns: Sequence[str],
    work: tuple[str, int],
    progress: Progress,
) -> Floats:
    """[ids + columns, rows]; `ids` columns of the query stand before those asked for, exact up to 2^53."""
    chunks = []
    done = 0
    for rows in reader.scan(sql.format(columns=", ".join(columns)), session_id, chunk=_CHUNK):
        chunks.append(np.array(rows, dtype=np.float64).T)
        done += len(rows)
        progress(work[0], done, max(work[1], done))
    return np.concatenate(chunks, axis=1) if chunks else np.empty((ids + len(columns), 0))
