"""Sums of stretches of a prompt's rounds, from which figures at any moment of a session are put together.

The writer adds one every `BLOCK` rounds and one for what is left when the prompt ends, in the transaction
of the round or of the end. They stay when nodes are pruned.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from spectui.store.counts.metrics import AT_RISK_SQL, OVERLAP_SQL

BLOCK = 128
"""Rounds of a block: what a jump counts node by node is less than that."""

ROUND_SUMS_SQL = """
    count(*), sum(accepted_length) + count(bonus_token_id), sum(accepted_length),
    sum(draft_ms), sum(verify_ms), sum(other_ms)
"""
"""Columns of `rollup_block` after its key, over rows of `round`."""

DEPTH_SUMS_SQL = f"""
    count(*), sum(node."match"), sum({AT_RISK_SQL}), sum(node.accepted), total({OVERLAP_SQL}), count(node.draft_p),
    count(DISTINCT CASE WHEN {AT_RISK_SQL} THEN round.id END), sum(node.accepted)
"""
"""Columns of `rollup_block_depth` after its key, over `NODES_SQL`. A path has one node a depth, so that the
rounds which reached a depth are its accepted nodes."""

NODES_SQL = """
    round JOIN node ON node.round_id = round.id
    LEFT JOIN node AS parent ON parent.round_id = node.round_id AND parent.idx = node.parent
"""

_ADD_BLOCK = f"""
    INSERT INTO rollup_block
    SELECT generation_id, max(number), {ROUND_SUMS_SQL} FROM round
    WHERE generation_id = :generation AND number > :after AND number <= :upto HAVING count(*) > 0
"""
_ADD_DEPTHS = f"""
    INSERT INTO rollup_block_depth
    SELECT round.generation_id, (SELECT max(last) FROM rollup_block WHERE generation_id = :generation),
           node.depth, {DEPTH_SUMS_SQL}
    FROM {NODES_SQL} WHERE round.generation_id = :generation AND round.number > :after AND round.number <= :upto
    GROUP BY node.depth
"""


def add_block(connection: sqlite3.Connection, generation_id: int, upto: int = 2**62) -> None:
    """Sum up the rounds of a prompt, up to number `upto`, that no block covers yet. Call within a transaction."""
    (after,) = connection.execute(
        "SELECT coalesce(max(last), 0) FROM rollup_block WHERE generation_id = ?", (generation_id,)
    ).fetchone()
    where = {"generation": generation_id, "after": after, "upto": upto}
    if connection.execute(_ADD_BLOCK, where).rowcount > 0:
        connection.execute(_ADD_DEPTHS, where)


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
