"""Counts kept as rounds are recorded: per prompt, task, accepted length and depth, and per block of rounds.

A block sums up consecutive rounds of one prompt, so that figures at any moment of a session can be put together. The
writer adds one every `BLOCK` rounds and one for the rest when the prompt ends. Blocks stay when nodes are pruned.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable

from spectui.store.counts import bins
from spectui.store.counts.sums import DEPTH_SUMS, NODE_SQL, NODES_SQL, ROUND_SUMS, TIMES, added
from spectui.store.counts.tally import RoundTally
from spectui.store.errors import StoreError
from spectui.store.records import RoundRecord

BLOCK = 128
"""Rounds of a block: what a jump counts node by node is less than that."""

_ADD_TO_GENERATION = f"""
    UPDATE generation SET round_count = round_count + 1, {added(("token_count", "node_count", *NODE_SQL, *TIMES))}
    WHERE id = ? AND status = 'running' AND round_count = ?
"""
_ADD_TO_TASK = f"""
    UPDATE rollup_task SET rounds = rounds + 1, {added(("tokens", "nodes", *NODE_SQL, *TIMES))}, bins = ?
    WHERE session_id = ? AND task = ? AND rounds = ?
"""
_ADD_PROMPT = """
    INSERT INTO rollup_task (session_id, task, prompts) VALUES (?, ?, 1)
    ON CONFLICT (session_id, task) DO UPDATE SET prompts = prompts + 1
"""
_ADD_TO_LENGTH = """
    INSERT INTO rollup_length (session_id, task, accepted_length, rounds) VALUES (?, ?, ?, 1)
    ON CONFLICT (session_id, task, accepted_length) DO UPDATE SET rounds = rounds + 1
"""
_ADD_TO_DEPTH = f"""
    INSERT INTO rollup_depth (session_id, task, depth, {", ".join(DEPTH_SUMS)})
    VALUES (?, ?, ?, {", ".join("?" * len(DEPTH_SUMS))})
    ON CONFLICT (session_id, task, depth) DO UPDATE SET {added(tuple(DEPTH_SUMS), "excluded.{name}")}
"""
_ADD_BLOCK = f"""
    INSERT INTO rollup_block (generation_id, last, {", ".join(ROUND_SUMS)})
    SELECT generation_id, max(number), {", ".join(ROUND_SUMS.values())} FROM round
    WHERE generation_id = :generation AND number > :after AND number <= :upto HAVING count(*) > 0
"""
_ADD_BLOCK_DEPTHS = f"""
    INSERT INTO rollup_block_depth (generation_id, last, depth, {", ".join(DEPTH_SUMS)})
    SELECT round.generation_id, (SELECT max(last) FROM rollup_block WHERE generation_id = :generation),
           node.depth, {", ".join(DEPTH_SUMS.values())}
    FROM {NODES_SQL} WHERE round.generation_id = :generation AND round.number > :after AND round.number <= :upto
    GROUP BY node.depth
"""
_TaskRow = tuple[int, "array[int]"]
"""Rounds of a task, and its bins at that time."""


class Rollups:
    """Adds prompts and rounds to the counts of one session, within the caller's transaction.

    Bins are held in memory between rounds, so that a round writes them without reading them. They are used only while
    the row has as many rounds as when it was last written.
    """

    def __init__(self, connection: sqlite3.Connection, session_id: int) -> None:
        self._connection = connection
        self._session_id = session_id
        self._held: dict[str, _TaskRow] = {}

    def add_prompt(self, task: str) -> None:
        """Count a prompt that has started."""
        self._connection.execute(_ADD_PROMPT, (self._session_id, task))

    def add_to_prompt(self, generation_id: int, record: RoundRecord, counts: RoundTally) -> None:
        """Add a round to its prompt's sums. Raises `StoreError` when the prompt is not running, or it is not next."""
        where = (generation_id, record.number - 1)
        if not self._connection.execute(_ADD_TO_GENERATION, (*counts.sums, *where)).rowcount:
            raise StoreError(
                f"round {record.number} cannot be recorded: prompt {generation_id} is not running, or it is not"
                " the next"
            )

    def add_round(self, generation_id: int, task: str, record: RoundRecord, counts: RoundTally) -> None:
        """Add a recorded round to the sums of its task, its accepted length, its depths and its block."""
        held = self._held.get(task)
        if held is None or not self._update_task(task, counts, held):
            self.forget()
            if not self._update_task(task, counts, self._read_task(task)):
                raise StoreError(f"task '{task}' changed while a round of it was recorded")
        self._connection.execute(_ADD_TO_LENGTH, (self._session_id, task, record.accepted_length))
        self._connection.executemany(
            _ADD_TO_DEPTH, [(self._session_id, task, *depth) for depth in counts.depths]
        )
        if record.number % BLOCK == 0:
            add_block(self._connection, generation_id)

    def forget(self) -> None:
        """Read the tasks' rows again at the next round: what is held may not have been committed."""
        self._held.clear()

    def _update_task(self, task: str, counts: RoundTally, held: _TaskRow) -> bool:
        """Add a round if the row is as it is held; True when it was."""
        rounds, places = held
        for place in counts.bins:
            places[place] += 1
        self._held[task] = (rounds + 1, places)
        # Without draft probabilities nothing is ever counted, and nothing is stored.
        blob = bins.pack(places) if counts.bins or any(places) else b""
        where = (self._session_id, task, rounds)
        return self._connection.execute(_ADD_TO_TASK, (*counts.sums, blob, *where)).rowcount == 1

    def _read_task(self, task: str) -> _TaskRow:
        row = self._connection.execute(
            "SELECT rounds, bins FROM rollup_task WHERE session_id = ? AND task = ?", (self._session_id, task)
        ).fetchone()
        if row is None:
            raise StoreError(f"the figures of task '{task}' are gone from the database")
        return row[0], bins.unpack(row[1])


def add_block(connection: sqlite3.Connection, generation_id: int, upto: int = 2**62) -> None:
    """Sum up the rounds of a prompt, up to number `upto`, that no block covers yet. Call within a transaction."""
    (after,) = connection.execute(
        "SELECT coalesce(max(last), 0) FROM rollup_block WHERE generation_id = ?", (generation_id,)
    ).fetchone()
    where = {"generation": generation_id, "after": after, "upto": upto}
    if connection.execute(_ADD_BLOCK, where).rowcount > 0:
        connection.execute(_ADD_BLOCK_DEPTHS, where)


def forget_blocks(connection: sqlite3.Connection, generations: Iterable[int]) -> None:
    """Drop the blocks of prompts whose rounds are dropped. Call within a transaction."""
    rows = [(generation_id,) for generation_id in generations]
    for table in ("rollup_block", "rollup_block_depth"):
        connection.executemany(f"DELETE FROM {table} WHERE generation_id = ?", rows)


def rebuild_blocks(connection: sqlite3.Connection, session_id: int) -> None:
    """Replace a session's blocks by new ones, but those of pruned prompts. Call within a transaction."""
    rows = connection.execute(
        "SELECT id, (SELECT count(*) FROM round WHERE generation_id = generation.id), status FROM generation"
        " WHERE session_id = ? AND id NOT IN (SELECT generation_id FROM pruned)",
        (session_id,),
    ).fetchall()
    forget_blocks(connection, [row[0] for row in rows])
    for generation_id, rounds, status in rows:
        for upto in range(BLOCK, rounds + 1, BLOCK):
            add_block(connection, generation_id, upto)
        if status not in ("pending", "running"):
            add_block(connection, generation_id)
