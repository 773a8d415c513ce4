"""Keys and words, on one page that scrolls; those of the screen it was opened from come first."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import ModalScreen

from spectui.tui.charts import all_charts
from spectui.tui.keys import area_of, label, named
from spectui.tui.widgets.rows import Row, Rows

KEYS = (
    (
        "Reading",
        (
            ("p", "follow the prompt being decoded, or stay here"),
            ("↑ ↓ pgup pgdn", "scroll; leaving the end stops following"),
            ("g  G", "top and end of the text"),
            ("[  ]", "previous and next prompt of the run"),
            ("←  →", "previous and next round: its tree and its text"),
            ("x", "show or hide rejected drafts"),
            ("v", "show the whole prompt"),
            ("h  z", "next chart (H: before); on the whole screen, with a cursor"),
            ("1 2 3 4", "text, tree, charts, prompts; alone or all together"),
        ),
    ),
    (
        "The run",
        (
            ("space", "pause, or go on"),
            ("s", "skip the prompt being decoded"),
            ("r", "start a new run (in the list of sessions)"),
            ("q", "leave; asks whether the run goes on"),
        ),
    ),
    (
        "Replay (r in a session; space in one that is over)",
        (
            ("space", "play, or hold"),
            ("←  →  shift", "a round back, a round on; with shift ten"),
            ("<  >", "slower, faster: 0.25 to 32 times, then as fast as it goes"),
            (":", "go to: 12 a prompt, 12.88 its round, 1:30 a time, 50%"),
            ("[  ]", "start of this prompt, then the one before; the next"),
            ("home  end", "start and end of the session"),
        ),
    ),
    (
        "The inspector (enter in a session)",
        (
            ("n  N", "next and previous rejected node, over all rounds"),
            ("←  →  shift", "round before, next round; with shift ten"),
            ("/", "search the session for a text or #123, a token's id"),
            ("r", "replay from this round"),
        ),
    ),
    (
        "The list of sessions",
        (
            ("enter", "open the session"),
            ("/", "filter as you type: words, #tag, task:code, -word,"),
            ("", '>2026-11-01 (or <; a month, a year), "two words"'),
            ("o  O  i", "sort by the next, previous column; turn it round"),
            ("e  #  n", "rename, tags, note"),
            ("d  u", "delete (once you leave); bring back until then"),
            ("v", "show or hide the summary; tab goes to it"),
            ("m  c", "mark two to four sessions; compare them"),
            ("R", "report on acceptance (in a session too)"),
            ("x", "export the session: CSV, JSON, Parquet, a database"),
            ("A", "which tree pays for which task (advise)"),
        ),
    ),
    (
        "A chart on the whole screen (z in a session)",
        (
            ("←  →", "move the cursor that reads values"),
            ("h  H", "next chart, chart before"),
            ("1 2 3 4 5 6 7 8", "show or hide a task; 0 shows all"),
        ),
    ),
    (
        "A comparison (c in the list)",
        (
            ("1 2 3", "chart, figures, outputs; again: alone"),
            ("h  H", "next chart, chart before"),
            ("o", "chart of one task, or of all"),
            ("←  →", "move the chart's cursor"),
            ("[  ]", "previous and next prompt"),
            ("n  N", "next and previous prompt whose outputs differ"),
            ("r", "work the figures out again"),
        ),
    ),
    (
        "Report and advice (R, A)",
        (
            ("[  ]", "previous and next section of the report"),
            ("w", "write the report, or the trees as a budget file"),
            ("r", "work it out again"),
        ),
    ),
    (
        "Everywhere",
        (
            ("esc", "back"),
            ("tab", "next pane"),
            ("y", "copy the prompt's text, or a session's summary"),
            ("t", "next theme: dark, light, colour-blind-safe, ansi"),
            ("ctrl+p", "all commands"),
            ("ctrl+z", "to the shell"),
        ),
    ),
)

AREAS = {
    "Reading": ("live", "token_stream"),
    "The run": ("live",),
    "Replay (r in a session; space in one that is over)": ("replay",),
    "The inspector (enter in a session)": ("inspector",),
    "The list of sessions": ("sessions", "table"),
    "A chart on the whole screen (z in a session)": ("chart",),
    "A comparison (c in the list)": ("compare",),
    "Report and advice (R, A)": ("report", "advise"),
    "Everywhere": ("app",),
}
"""Section -> the screens and widgets whose keys it tells, so that changed ones are shown."""

WORDS = (
    ("round", "one forward pass of the target over a tree of drafts"),
    ("accepted", "draft tokens the target agreed with"),
    ("target's own", "the token the target adds after them in every round"),
    ("rejected", "what the draft would have said next"),
    ("n", "rounds"),
    ("α", "match rate: share of nodes that are the target's first choice"),
    (
        "E ±",
        "accepted draft tokens per round, measured; ± half the 95 % interval over prompts, from two on",
    ),
    ("τ", "tokens per round: accepted ones and the target's own"),
    ("h, S", "share of paths that go on to a depth; that get there at all"),
    ("q, p", "probability by the draft; by the target"),
    ("Hq, Hp", "entropy of the draft, of the target, in nats, where the node was drafted"),
    ("overlap", "min(1, p/q): the chance that sampling accepts a node"),
    (
        "1.4× plain",
        "times as fast as one token at a time; in brackets the range that eight of ten measurements during "
        "the run give, or once where there is one",
    ),
    ("tok", "tokens; tok/s: per second of decoding"),
    (
        "s/M tok",
        "seconds of decoding for a million tokens, by the clock; with a price, its currency for them",
    ),
    ("J/token", "energy of a token, where the machine measures it"),
    ("draft … other", "shares of the decoding time: drafting, the target's forward pass, all else"),
    ("cpu, GB", "what the worker uses: 100 % is one core; memory"),
    ("ETA", "decoding time to come, if prompts cost what those done did"),
    ("pays", "of trees: brings the most tokens per second"),
    (
        "by measured cost",
        "a tree not chosen yet: the one for all tasks that pays most here; auto is one for each task",
    ),
    (
        "⟨200D⟩",
        "a character that draws nothing, or would steer the terminal, by its code point; ␛ a control character",
    ),
    ("⟨id 7⟩", "a token whose text is not in the database"),
    ("↵, ·", "a line break; in trees, a blank"),
    ("–", "not known, or not yet"),
)


KEY, WIDTH, FRAME = 18, 76, 7
"""Cells of the keys' column, of the box at most, and of its border, padding and scrollbar."""


class HelpScreen(ModalScreen[None]):
    """Closed by the key that opened it, or escape."""

    CSS_PATH = "help.tcss"
    BINDINGS = [Binding("escape,question_mark,q,enter", "dismiss", "Close", show=False)]  # noqa: RUF012

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
        box.border_subtitle = f"{named(self, 'esc')} closes"
        box.focus()
        self._here = area_of(type(self.app.screen_stack[-2]))
        self._write(self.app.size.width)

    def on_resize(self, event: events.Resize) -> None:
        """Write the page for this width."""
        self._write(event.size.width)

    def _write(self, screen_width: int) -> None:
        box = self.query_one("#help-box", Rows)
        width = min(screen_width, WIDTH) - FRAME
        rows: list[Row] = []
        for title, keys in sorted(KEYS, key=lambda section: self._here not in AREAS[section[0]]):
            rows.append(((title, "strong"),))
            places = AREAS[title]
            rows += [row for key, words in keys for row in _rows(label(key, *places), "key", words, width)]
            rows.append(())
        rows.append((("Charts", "strong"),))
        for chart in all_charts():
            rows += _rows(chart.title, "accent", chart.help, width)
        rows.append(())
        rows.append((("Words", "strong"),))
        rows += [row for word, words in WORDS for row in _rows(word, "accent", words, width)]
        box.set_rows(rows)


def _rows(key: str, role: str, words: str, width: int) -> list[Row]:
    """A key and what it does, on as many lines as that takes; a key that is too long has a line of its own."""
    rows: list[Row] = []
    if cell_len(key) > KEY - 2:
        rows, key = [((f"  {key}", role),)], ""
    for line in textwrap.wrap(words, max(width - KEY, 16)) or [""]:
        rows.append(((f"  {key:<16}", role), (line, "text")))
        key = ""
    return rows
