"""Protects: a text is found wherever it was decoded, over borders of tokens, rounds and slices; drafts too."""

from __future__ import annotations

import pytest
from sqlite_utils import Database

from spectui.store.reading import search as module
from spectui.store.reading.reader import Reader
from spectui.store.reading.search import Hit, search
from spectui.store.records import NodeRecord, RoundRecord
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import claimed_writer, make_session


def round_of(number: int, accepted: list[int], bonus: int | None, drafted: list[int]) -> RoundRecord:
    """A chain of accepted tokens, then siblings that were not."""
    nodes = [
        NodeRecord(i, i - 1 if i else None, i + 1, 0, token, 0.5, 0.5, 1.0, 1.0, True, True)
        for i, token in enumerate(accepted)
    ]
    tip = len(accepted) - 1 if accepted else None
    for rank, token in enumerate(drafted):
        depth = len(accepted) + 1
        nodes.append(NodeRecord(len(nodes), tip, depth, rank, token, 0.5, 0.1, 1.0, 1.0, False, False))
    return RoundRecord(number, 1, len(accepted), bonus, None, 1.0, 1.0, 1.0, nodes)


@pytest.fixture(params=[1, 2, 2048], ids=lambda size: f"slices of {size}")
def session(db: Database, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """ "The answer is forty-two €, Straße end": the euro sign cut in its middle between two rounds."""
    monkeypatch.setattr(module, "SLICE", request.param)
    writer = claimed_writer(db, ("code", "math"))
    writer.describe(tokenizer_id="tok")
    pieces = [b"The ", b"answer", b" is", b" forty", b"-two", b" \xe2\x82", b"\xac, Stra\xc3\x9fe", b" end"]
    writer.add_tokens("tok", dict(enumerate(pieces, 100)))
    for generation in (1, 2):
        writer.start_generation(generation)
    writer.record_round(1, round_of(1, [100, 101], 102, [107]))
    writer.record_round(1, round_of(2, [], 103, [101, 104]))
    writer.record_round(1, round_of(3, [104], 105, []))
    writer.record_round(1, round_of(4, [106], 107, [999]))
    writer.record_round(2, round_of(1, [], 101, []))
    return Reader(db)


def places(reader: Reader, text: str) -> list[tuple[int, int, int | None]]:
    return [(hit.position, hit.number, hit.idx) for step in search(reader, 1, text) for hit in step.hits]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("answer", [(0, 1, None), (0, 2, 0), (1, 1, None)]),
        ("ANSWER IS FORTY", [(0, 1, None)]),
        ("y-two €, str", [(0, 2, None)]),
        ("€", [(0, 4, None)]),
        ("straße", [(0, 4, None)]),
        ("end", [(0, 1, 2), (0, 4, None)]),
        ("#101", [(0, 1, None), (0, 2, 0), (1, 1, None)]),
        ("#999", [(0, 4, 1)]),
        ("forty.two", []),
        ("the end", []),
    ],
)
def test_finds(session: Reader, text: str, expected: list[tuple[int, int, int | None]]) -> None:
    assert places(session, text) == expected


def test_shows_what_stands_around(session: Reader) -> None:
    hits: list[Hit] = [hit for step in search(session, 1, "Two") for hit in step.hits]
    output = next(hit for hit in hits if hit.idx is None)
    assert (output.before + output.match).endswith("is forty-two")
    assert [step.rounds for step in search(session, 1, "x")][-1] == 5


def test_what_is_kept_between_slices_is_small(session: Reader, db: Database) -> None:
    writer = SessionWriter(db, make_session(db, ("code",)))
    writer.claim()
    writer.describe(tokenizer_id="tok")
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    for number in range(1, 200):
        writer.record_round(generation.id, round_of(number, [101], 102, []))
    hits = [hit for step in search(session, 2, "answer isanswer") for hit in step.hits]
    assert [hit.number for hit in hits] == list(range(1, 198, 2))
