"""Tokens are bytes: characters cut over tokens must come out whole, and rejected ones must not disturb them."""

from spectui.store.records import NodeRecord
from spectui.store.rows import RoundRow
from spectui.tui.model.pieces import Piece, StreamDecoder, token_text

TABLE = {1: b"a ", 2: "🙂".encode()[:2], 3: "🙂".encode()[2:], 4: b"b\n", 5: b"\x1b[31m", 6: b"\xff"}


def round_row(number: int, accepted: list[int], bonus: int | None, rejected: list[int] = ()) -> RoundRow:  # type: ignore[assignment]
    nodes = []
    for depth, token in enumerate([*accepted, *rejected], start=1):
        kept = depth <= len(accepted)
        nodes.append(
            NodeRecord(
                depth - 1, depth - 2 if depth > 1 else None, depth, 0, token, None, 0.5, None, 1.0, kept, kept
            )
        )
    return RoundRow(
        number, 1, number, 10, len(accepted), bonus, None, len(nodes), 1.0, 2.0, 0.1, tuple(nodes)
    )


def test_a_character_over_two_tokens_appears_with_the_second() -> None:
    decoder = StreamDecoder()
    assert decoder.feed(round_row(1, [1, 2], 3), TABLE) == [
        Piece("accepted", "a ", 1, 2),
        Piece("target", "🙂", 1, 1),
    ]


def test_a_character_over_two_rounds() -> None:
    decoder = StreamDecoder()
    assert decoder.feed(round_row(1, [1], 2), TABLE)[-1] == Piece("target", "", 1, 1)
    assert decoder.feed(round_row(2, [3], 1), TABLE)[0] == Piece("accepted", "🙂", 2, 1)


def test_a_rejected_span_sees_pending_bytes_and_leaves_them() -> None:
    decoder = StreamDecoder()
    pieces = decoder.feed(round_row(1, [1, 2], 3, rejected=[3, 4]), TABLE)
    assert pieces == [
        Piece("accepted", "a ", 1, 2),
        Piece("rejected", "🙂b↵", 1, 0),
        Piece("target", "🙂", 1, 1),
    ]


def test_broken_and_steering_bytes_become_symbols() -> None:
    decoder = StreamDecoder()
    texts = [p.text for p in decoder.feed(round_row(1, [5], 6), TABLE)]
    assert texts == ["␛[31m", "�"]
    assert token_text(5, TABLE) == "␛[31m"
    assert token_text(4, TABLE) == "b↵"


def test_unknown_tokens_show_their_number() -> None:
    assert token_text(99, TABLE) == "⟨id 99⟩"
    assert StreamDecoder().feed(round_row(1, [99], None), TABLE)[0].text == "⟨id 99⟩"


def test_closing_gives_up_on_bytes_that_never_became_a_character() -> None:
    decoder = StreamDecoder()
    decoder.feed(round_row(1, [1], 2), TABLE)
    assert decoder.close() == "�"
    assert decoder.close() == ""
