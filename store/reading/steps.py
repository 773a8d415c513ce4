"""Verifications that had a draft, prompt by prompt: drafted and accepted tokens, as servers count them.

Rounds alone are read, so that sessions without nodes have them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from spectui.store.reading.reader import Reader

CHUNK = 10_000
"""Rows held at a time."""

# CROSS JOIN keeps the order of the loops, which is that of the indexes: nothing has to be sorted.
_ROUNDS = """
    SELECT generation.id, generation.task, generation.status = 'finished', round.node_count, round.accepted_length
    FROM generation CROSS JOIN round ON round.generation_id = generation.id
    WHERE generation.session_id = ? AND round.node_count > 0
    ORDER BY generation.position, round.number
"""


@dataclass(frozen=True)
class Steps:
    """The verifications with a draft of one prompt, in order."""

    generation_id: int
    task: str
    finished: bool
    drafted: tuple[int, ...]
    """Draft tokens of each: the nodes of its tree."""
    accepted: tuple[int, ...]
    """Accepted tokens of each, the target's own not among them."""


def read_steps(reader: Reader, session_id: int) -> Iterator[Steps]:
    """The steps of each prompt that has any, in running order; call within `snapshot`."""
    rows = (row for rows in reader.scan(_ROUNDS, session_id, chunk=CHUNK) for row in rows)
    for (generation_id, task, finished), each in groupby(rows, key=lambda row: row[:3]):
        drafted, accepted = zip(*((row[3], row[4]) for row in each), strict=True)
        yield Steps(generation_id, task, bool(finished), drafted, accepted)
