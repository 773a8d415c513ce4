"""The help: keys, charts and words on one page; the keys of the screen it was opened from come first."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.screen import ModalScreen

from spectui.tui.charts import all_charts
from spectui.tui.navigation import DESTINATIONS, areas
from spectui.tui.navigation.keymap import area_of, bindings, key_for, key_text
from spectui.tui.widgets.rows import Row, Rows

WORDS = (
    ("round", "one forward pass of the target over a tree of draft tokens"),
    ("accepted", "draft tokens that the target agreed with"),
    ("target's own", "the token that the target adds after the accepted ones, in every round"),
    ("rejected", "draft tokens that the target did not agree with"),
    ("n", "rounds"),
    ("α", "match rate: share of nodes that are the target's first choice"),
    (
        "E ±",
        "accepted draft tokens per round, measured; ± half the 95 % interval over prompts, from two on",
    ),
    ("τ", "tokens per round: accepted ones and the target's own"),
    ("h, S", "share of the paths one level above that go on to a depth; share of all rounds that get there"),
    ("q, p", "probability of a token by the draft; by the target"),
    ("Hq, Hp", "entropy of the draft, of the target, in nats, where the node was drafted"),
    ("overlap", "min(1, p/q): the chance that sampling accepts a node"),
    (
        "1.4× plain",
        "times as fast as plain decoding, one token at a time; in brackets the range of eight of ten measurements "
        "during the run, or once where there is one",
    ),
    ("tok", "tokens; tok/s: tokens per second of decoding"),
    (
        "s/M tok",
        "seconds of decoding for a million tokens, by the clock; with --price, what they cost",
    ),
    ("J/token", "energy for a token, where the machine measures it"),
    (
        "draft … other",
        "shares of the decoding time: drafting, verifying (the target's forward pass), the rest",
    ),
    ("cpu, GB", "use of the worker: 100 % is one core; memory"),
    ("ETA", "decoding time to come, if the other prompts take as long as those that are done"),
    ("pays", "the tree that pays brings the most tokens per second"),
    (
        "by measured cost",
        "the tree is chosen when the run starts: the one that is fastest on this machine",
    ),
    (
        "⟨200D⟩",
        "the code point of a character that draws nothing or would steer the terminal; ␛ is a control character",
    ),
    ("⟨id 7⟩", "a token whose text is not in the database"),
    ("↵, ·", "a line break; a blank (in trees)"),
    ("–", "not known, or not yet"),
)


KEY, WIDTH, FRAME = 18, 76, 7
"""Cells of the keys' column, of the box at most, and of its border, padding and scrollbar."""


class HelpScreen(ModalScreen[None]):
    """The help over the screen it was opened from."""

    CSS_PATH = "help.tcss"
    BINDINGS = bindings("help")

    _here = ""
    """The area of the screen that it was opened from."""

    def compose(self) -> ComposeResult:
        """One scrolling box."""
        yield Rows(id="help-box")

    def on_mount(self) -> None:
        """Name the box, and write the page."""
        box = self.query_one("#help-box", Rows)
        box.can_focus = True
        box.border_title = "help"
        box.border_subtitle = f"{key_for(self, 'dismiss')} closes"
        box.focus()
        self._here = area_of(type(self.app.screen_stack[-2]))
        self._write(self.app.size.width)

    def on_resize(self, event: events.Resize) -> None:
        """Write the page for this width."""
        self._write(event.size.width)

    def _write(self, screen_width: int) -> None:
        box = self.query_one("#help-box", Rows)
        width = min(screen_width, WIDTH) - FRAME
        sections = [
            (title, "key", keys)
            for _, title, keys in sorted(key_sections(), key=lambda s: s[0] != self._here)
        ]
        sections.append(("Charts", "accent", [(chart.title, chart.help) for chart in all_charts()]))
        sections.append(("Words", "accent", list(WORDS)))
        rows: list[Row] = []
        for title, role, entries in sections:
            rows += [(), ((title, "strong"),)] if rows else [((title, "strong"),)]
            rows += [row for name, words in entries for row in _rows(name, role, words, width)]
        box.set_rows(rows)


def key_sections() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The keys of every screen: its area, its title, and each key that is in force with what it does."""
    titles = {area: place.title for area, place in DESTINATIONS.items() if place.title} | {
        "app": "Everywhere"
    }
    return [
        (
            area,
            title,
            [(key_text(key, area, gap="  "), key.words) for key in areas()[area] if key.area != "app"],
        )
        for area, title in titles.items()
    ]


def _rows(key: str, role: str, words: str, width: int) -> list[Row]:
    """A key and what it does, on as many lines as that takes; a key that is too long has a line of its own."""
    rows: list[Row] = []
    if cell_len(key) > KEY - 2:
        rows, key = [((f"  {key}", role),)], ""
    for line in textwrap.wrap(words, max(width - KEY, 16)) or [""]:
        rows.append(((f"  {key:<16}", role), (line, "text")))
        key = ""
    return rows
