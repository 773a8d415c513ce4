"""Protects: a session of a server is shown with its first token, and by its text alone where no token is told."""

from __future__ import annotations

from pathlib import Path

from spectui.servers.rounds import ServerRound, to_record
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.tui.feeds.replay_text import ReplayText
from spectui.tui.feeds.session import SessionFeed
from spectui.tui.model.state import Ended, Stream
from spectui.tui.model.timeline import Place
from tests.store.samples import claimed_writer

WORDS = {0: b"Once", 1: b" upon", 2: b" a", 3: b" time", -1: "▯".encode()}


def recorded(path: Path, rounds: list[ServerRound], first: int | None) -> None:
    db = connect(path)
    writer = claimed_writer(db, ["code"])
    writer.describe(source="llama.cpp stream", tokenizer_id="words")
    writer.add_tokens("words", WORDS)
    (generation,) = writer.pending_generations()
    writer.start_generation(generation.id)
    writer.note_prompt(generation.id, 5, first)
    for number, each in enumerate(rounds, 1):
        writer.record_round(generation.id, to_record(number, each))
    writer.finish_generation(generation.id, "finished", output="Once upon a time", finish_reason="length")
    writer.set_status("finished")
    db.close()


def live_text(path: Path) -> list[tuple[str, str]]:
    feed = SessionFeed(path, 1, lambda _: None)
    with Reader(path) as reader:
        pieces = []
        for _ in range(8):
            for news in feed.look(reader):
                if isinstance(news, Stream):
                    pieces += [(piece.kind, piece.text) for piece in news.pieces if piece.kind != "rejected"]
                if isinstance(news, Ended):
                    return pieces
    raise AssertionError("the prompt did not end")


def replayed_text(path: Path, rounds: int) -> list[tuple[str, str]]:
    with Reader(path) as reader:
        row = reader.generations(1)[0]
        place = Place(row.id, rounds)
        return [
            (piece.kind, piece.text)
            for news in ReplayText().show(reader, place, row, "words")
            if isinstance(news, Stream)
            for piece in news.pieces
            if piece.kind != "rejected"
        ]


def test_the_first_token_stands_before_the_first_round(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    recorded(path, [ServerRound(3, 2, 3, 1.0, (1, 2, 3), 6)], 0)
    shown = [("target", "Once"), ("accepted", " upon a"), ("target", " time")]
    assert live_text(path) == replayed_text(path, 1) == shown


def test_a_text_without_tokens_is_shown_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    recorded(path, [ServerRound(3, 2, 3), ServerRound(0, 0, 1)], None)
    for pieces in (live_text(path), replayed_text(path, 2)):
        assert [text for kind, text in pieces if kind == "note"] == ["Once upon a time"]
        assert "".join(text for kind, text in pieces if kind != "note") == ""
