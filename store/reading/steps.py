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
OUTPUTS = 100
"""Outputs with their prompts held at a time."""

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


@dataclass(frozen=True)
class Alike:
    """Rounds of two sessions that begin at the same place of the same output."""

    rounds: int
    same: int
    """Those that accept as many tokens."""
    last: int
    """Of the others, those that are the last round of their output in one of both."""


_OUTPUTS = """
    SELECT id, task, prompt_text, output FROM generation
    WHERE session_id = ? AND status = 'finished' AND output <> ''
    ORDER BY position
"""
_PLACES = """
    SELECT generation.id, round.prefix_length - generation.prompt_tokens, round.accepted_length,
        round.number = generation.round_count
    FROM generation CROSS JOIN round ON round.generation_id = generation.id
    WHERE generation.session_id = ? AND generation.status = 'finished' AND round.prefix_length IS NOT NULL
        AND generation.output <> ''
    ORDER BY generation.position, round.number
"""


def rounds_alike(reader: Reader, a: int, b: int) -> Alike:
    """Compare rounds one by one where both sessions gave the same output to the same prompt; call within `snapshot`.

    Engines begin their first round a token apart, and end by rules of their own; in between, a head that both have
    drafts from the same places.
    """
    numbers: dict[tuple[str, str, str], int] = {}
    of_a, of_b = _places(reader, a, numbers), _places(reader, b, numbers)
    shared = of_a.keys() & of_b.keys()
    other = [place for place in shared if of_a[place][0] != of_b[place][0]]
    last = sum(of_a[place][1] or of_b[place][1] for place in other)
    return Alike(len(shared), len(shared) - len(other), last)


def _places(
    reader: Reader, session_id: int, numbers: dict[tuple[str, str, str], int]
) -> dict[tuple[int, int], tuple[int, bool]]:
    """(number of the output, place in it) -> accepted length, and True for the last round; numbers new outputs."""
    outputs = {
        generation: numbers.setdefault((task, prompt, output), len(numbers))
        for rows in reader.scan(_OUTPUTS, session_id, chunk=OUTPUTS)
        for generation, task, prompt, output in rows
    }
    rows = (row for rows in reader.scan(_PLACES, session_id, chunk=CHUNK) for row in rows)
    return {
        (outputs[generation], at): (length, bool(last))
        for generation, at, length, last in rows
        if at is not None
    }
