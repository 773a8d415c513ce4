"""Protects rounds held beside each other one by one: only where the same output was at the same place."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from sqlite_utils import Database

from spectui.servers.rounds import ServerRound, to_record
from spectui.store.reading.reader import Reader
from spectui.store.reading.steps import Alike, read_steps, rounds_alike
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import make_session


def record(db: Database, rounds: list[list[tuple[int, int]]], outputs: list[str]) -> int:
    """A session with a prompt for each list of (place in the output, accepted length)."""
    session_id = make_session(db, ["code"] * len(rounds))
    writer = SessionWriter(db, session_id)
    writer.claim()
    for generation, each, output in zip(writer.pending_generations(), rounds, outputs, strict=True):
        writer.start_generation(generation.id, 10)
        for number, (place, accepted) in enumerate(each, 1):
            one = ServerRound(3, accepted, accepted + 1, prefix_length=10 + place)
            writer.record_round(generation.id, to_record(number, one))
        writer.finish_generation(generation.id, "finished", output=output, finish_reason="eos")
    writer.set_status("finished")
    return session_id


def test_rounds_are_alike_where_they_begin_alike(db: Database, path: Path) -> None:
    """Of the first prompt one of three shared places differs, and ends an output; the second has other words."""
    a = record(db, [[(0, 1), (2, 3), (6, 0), (7, 2)], [(0, 1)]], ["same", "one"])
    b = record(db, [[(1, 0), (2, 3), (6, 0), (7, 1)], [(0, 1)]], ["same", "other"])
    with Reader(path) as reader, reader.snapshot():
        assert rounds_alike(reader, a, b) == Alike(rounds=3, same=2, last=1)
        assert rounds_alike(reader, a, a) == Alike(rounds=5, same=5, last=0)


def test_texts_are_not_held_once_a_round(db: Database, path: Path) -> None:
    """A session may have millions of rounds."""
    output = "x" * 50_000
    session_id = record(db, [[(place, 0) for place in range(200)]], [output])
    with Reader(path) as reader, reader.snapshot():
        tracemalloc.start()
        assert rounds_alike(reader, session_id, session_id).rounds == 200
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * len(output)


def test_steps_are_rounds_that_had_a_draft(db: Database, path: Path) -> None:
    session_id = make_session(db, ["code", "math"])
    writer = SessionWriter(db, session_id)
    writer.claim()
    first, second = writer.pending_generations()
    for generation, each in ((first, [(3, 2), (0, 0), (1, 1)]), (second, [(0, 0)])):
        writer.start_generation(generation.id, 10)
        for number, (drafted, accepted) in enumerate(each, 1):
            writer.record_round(
                generation.id, to_record(number, ServerRound(drafted, accepted, accepted + 1))
            )
    with Reader(path) as reader, reader.snapshot():
        (steps,) = read_steps(reader, session_id)
    assert (steps.task, steps.drafted, steps.accepted, steps.finished) == ("code", (3, 1), (2, 1), False)
