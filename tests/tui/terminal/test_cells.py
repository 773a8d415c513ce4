"""Numbers keep their width, and text its cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from spectui.tui.terminal import cells
from spectui.tui.terminal.glyphs import ASCII, BLOCKS, choose


@given(st.text(st.sampled_from("ab漢🙂e\u0301 ")), st.integers(0, 20))
def test_fit_takes_exactly_the_width(text: str, width: int) -> None:
    assert cell_len(cells.fit(text, width)) == width
    assert cell_len(cells.fit(text, width, "right")) == width


@given(st.floats(0, 1), st.integers(1, 60))
def test_bars_keep_their_width_and_grow_with_the_share(part: float, width: int) -> None:
    assert cell_len(cells.bar(part, width)) == width
    eighths = sum(BLOCKS.across.index(c) for c in cells.bar(part, width))
    assert eighths == pytest.approx(part * width * 8, abs=1)
    assert (eighths == 0) == (part == 0)


@given(st.floats(0, 1), st.integers(1, 12))
def test_stacks_keep_their_height_and_grow_with_the_share(part: float, height: int) -> None:
    cells_of = cells.stack(part, height)
    assert len(cells_of) == height
    eighths = sum(BLOCKS.up.index(c) for c in cells_of)
    assert eighths == pytest.approx(part * height * 8, abs=1)
    assert (eighths == 0) == (part == 0)


def test_the_ascii_set_is_ascii_and_as_wide() -> None:
    for name, of_blocks in vars(BLOCKS).items():
        if name != "ascii":
            of_ascii = getattr(ASCII, name)
            assert of_ascii.isascii()
            assert len(of_ascii) == len(of_blocks)
            assert all(cell_len(c) == 1 for c in of_ascii + of_blocks)
    try:
        choose(ascii=True)
        assert cells.bar(0.5, 4) == "==  "
        assert cells.stack(0.01, 2) == [" ", "."]
    finally:
        choose(ascii=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_345, "12.3k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (1_234_567, "1.2M"),
        (None, "–"),
    ],
)
def test_short_counts(value: int | None, text: str) -> None:
    assert cells.short_count(value) == text
    assert len(text) <= 5


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, ".00"), (0.614, ".61"), (0.999, "1.0"), (1.0, "1.0"), (None, "–")]
)
def test_shares_take_three_cells(value: float | None, text: str) -> None:
    assert cells.share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.9, "0:59"), (820, "13:40"), (7509, "2:05:09"), (273_900, "3d 04:05")],
)
def test_durations(seconds: float, text: str) -> None:
    assert cells.duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0 B"), (93e6, "93 MB"), (1.31e9, "1.3 GB"), (999.6e6, "1.0 GB")]
)
def test_sizes(amount: float, text: str) -> None:
    assert cells.size(amount) == text


def test_columns_show_shares_and_never_hide_what_is_there() -> None:
    assert cells.columns([8, 4, 1, 0]) == "█▄▁ "
    assert cells.columns([100_000, 1]) == "█▁"
    assert cells.columns([0, 0]) == "  "
    assert cells.columns([]) == ""


def test_one_thing_has_no_plural() -> None:
    assert [cells.counted(number, "prompt") for number in (0, 1, 2, 12345)] == [
        "0 prompts",
        "1 prompt",
        "2 prompts",
        "12,345 prompts",
    ]
