"""Wrapping: no text lost, no line too wide, and the same lines however the text arrived."""

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from spectui.tui.model.transcript import Transcript
from spectui.tui.terminal.textsafe import sanitize

WORDS = st.text(st.sampled_from("ab (\n  \té漢字🙂e\u0301"), max_size=40).map(sanitize)
CHUNKS = st.lists(st.tuples(st.sampled_from(["accepted", "target", "rejected"]), WORDS), max_size=12)
WIDTHS = st.integers(2, 30)


def plain(transcript: Transcript) -> list[str]:
    return ["".join(text for _, text, _ in transcript.line(y)) for y in range(transcript.line_count)]


def filled(chunks: list[tuple[str, str]], width: int) -> Transcript:
    transcript = Transcript(width)
    for number, (kind, text) in enumerate(chunks, start=1):
        transcript.append(kind, text, number)
    return transcript


@given(CHUNKS, WIDTHS)
@example([("accepted", "\u0301 a字")], 2)
def test_lines_fit_and_lose_nothing(chunks: list[tuple[str, str]], width: int) -> None:
    lines = plain(filled(chunks, width))
    whole = "".join(text for _, text in chunks)
    assert "".join(lines) == whole.replace("\n", "")
    assert all(cell_len(line) <= width for line in lines)


@given(CHUNKS, WIDTHS)
def test_appending_wraps_as_wrapping_all_at_once(chunks: list[tuple[str, str]], width: int) -> None:
    at_once = Transcript(width)
    at_once.extend((kind, text, n) for n, (kind, text) in enumerate(chunks, start=1))
    assert plain(filled(chunks, width)) == plain(at_once)


@given(CHUNKS, WIDTHS, WIDTHS)
def test_resizing_wraps_as_if_it_had_been_so_wide_from_the_start(
    chunks: list[tuple[str, str]], before: int, after: int
) -> None:
    transcript = filled(chunks, before)
    transcript.resize(after)
    assert plain(transcript) == plain(filled(chunks, after))


@given(CHUNKS, WIDTHS)
def test_append_says_which_line_changed_first(chunks: list[tuple[str, str]], width: int) -> None:
    transcript = Transcript(width)
    for number, (kind, text) in enumerate(chunks, start=1):
        before = plain(transcript)
        first = transcript.append(kind, text, number)
        assert plain(transcript)[:first] == before[:first]


@given(CHUNKS, WIDTHS)
def test_rounds_are_found_where_their_text_is(chunks: list[tuple[str, str]], width: int) -> None:
    transcript = filled(chunks, width)
    for number, (_, text) in enumerate(chunks, start=1):
        if text.strip():
            line = transcript.line_of_round(number)
            following = range(line, min(line + len(text) + 2, transcript.line_count))
            assert any(n == number for y in following for _, _, n in transcript.line(y))


def test_breaks_at_spaces_and_keeps_indentation() -> None:
    transcript = filled([("accepted", "    return the_long_name + other")], 20)
    assert plain(transcript) == ["    return ", "the_long_name + ", "other"]
    narrow = filled([("accepted", "        unbreakable_word")], 12)
    assert plain(narrow) == ["        unbr", "eakable_word"]


def test_wide_characters_never_hang_over_the_edge() -> None:
    assert plain(filled([("target", "漢字漢字")], 5)) == ["漢字", "漢字"]


def test_gives_back_the_text_of_a_kind_unwrapped() -> None:
    transcript = filled([("accepted", "one two\nthree "), ("rejected", "no"), ("target", "four")], 5)
    assert transcript.text_of("accepted", "target") == "one two\nthree four"
    assert transcript.text_of("note") == ""


def test_an_empty_transcript_has_no_lines() -> None:
    transcript = Transcript(10)
    assert transcript.line_count == 0
    assert transcript.line(0) == []
    assert transcript.round_at(0) == 0
    assert transcript.line_of_round(3) == 0
