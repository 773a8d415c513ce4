"""The pictures of docs/: whole, small, and able to stand in a page that loads nothing else.

Protects: GitHub and mkdocs show a picture as an image, in which neither scripts nor other files are loaded; a moment
of an animation holds what the screen showed then.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from textual.app import App, ComposeResult
from textual.widgets import Static

from tests.bench.terminal_svg import look_at, svg
from tests.docs.documents import ROOT

PICTURES = sorted((ROOT / "docs").glob("*.svg"))
MOST_BYTES = 2_000_000


@pytest.mark.parametrize("picture", [pytest.param(each, id=each.stem) for each in PICTURES])
def test_a_picture_needs_nothing_else(picture: Path) -> None:
    assert picture.stat().st_size < MOST_BYTES
    text = picture.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "<script" not in text
    assert not re.search(r"(?:href|src)\s*=|url\((?!#)|@import", text)


class Small(App[None]):
    """A frame with text and bars in it."""

    def compose(self) -> ComposeResult:
        yield Static("╭──╮\n│ab│ steady  one\n╰──╯\n▁█⣀", id="all")


async def test_an_animation_shows_each_moment_and_holds_what_stays_once() -> None:
    app = Small()
    async with app.run_test(size=(20, 5)) as pilot:
        first = look_at(app)
        app.query_one("#all", Static).update("╭──╮\n│ab│ steady  two\n╰──╯\n▁█⣀")
        await pilot.pause()
        second = look_at(app)
    still = svg([(second, 1.0)])
    assert "@keyframes" not in still
    moving = svg([(first, 2.0), (second, 3.0)])
    ElementTree.fromstring(moving)
    assert moving.count(">steady<") == 1
    on = dict(re.findall(r'<g class="(a\d+)[ \w]*"><text[^>]*>(one|two)<', moving))
    assert sorted(on.values()) == ["one", "two"]
    for name, word in on.items():
        steps = moving.split(f"@keyframes {name}")[1].partition("}}")[0] + "}"
        times = dict(re.findall(r"([\d.]+)%{visibility:(\w+)}", steps))
        assert times == (
            {"0": "visible", "40": "hidden"} if word == "one" else {"0": "hidden", "40": "visible"}
        )
    # Without animation the last moment shows.
    assert re.search(r'class="a\d+ off"><text[^>]*>one<', moving)
    assert re.search(r'class="a\d+"><text[^>]*>two<', moving)


async def test_lines_and_bars_are_drawn_instead_of_spelled() -> None:
    app = Small()
    async with app.run_test(size=(20, 5)):
        picture = svg([(look_at(app), 1.0)])
    assert not re.search(r"[─-╿▀-▟⠀-⣿]", picture)
    assert picture.count("<path") >= 2
