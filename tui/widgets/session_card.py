"""One session at a glance: what it ran, how each task fared, how its output begins."""

from __future__ import annotations

from itertools import zip_longest

from rich.cells import cell_len

from spectui.store.rows import SessionSummary, TaskFigures
from spectui.store.sources import RECORDING, WATCH
from spectui.tui.model.progress import elapsed_seconds, silence
from spectui.tui.model.speedups import range_words
from spectui.tui.model.state import Card
from spectui.tui.model.transcript import wrap
from spectui.tui.terminal.cells import (
    NOTHING,
    columns,
    duration,
    fit,
    fitting,
    number,
    pad,
    rate,
    share,
    short_count,
)
from spectui.tui.terminal.textsafe import sanitize, sanitize_line
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.rows import Cell, Row, Rows, row_width

LABEL = 9
EVENTS = 5
"""Of those that happened, the last so many are told."""
SEVERAL = ", "
"""Between several facts on one line."""
FACTS, FIGURES = 32, 35
"""Cells that the facts and the figures ask for where they stand side by side."""
GAP = 3
STACKED = 11
"""Rows from which the figures stand below the facts and leave the rest of the width to the output."""
LEAST_NAME, SHORT_NAME, NAME = 5, 7, 24
"""Cells of a task's name: on any terminal, where there is room, and at most."""
BESIDE_NAME = 24
"""Cells of the rest of its row, the mean left out."""
BINS = 7
"""Accepted lengths in the tiny histogram; the last one takes all that are longer."""


class SessionCard(Rows, can_focus=True):
    """The session under the cursor of the list."""

    # Rows are as wide as they will be beside a scrollbar, which comes after them: it hid the last digits.
    DEFAULT_CSS = "SessionCard { scrollbar-gutter: stable; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._card: Card | None = None

    def show(self, card: Card | None) -> None:
        """Show this session, or none."""
        self._card = card
        self._draw()

    def on_resize(self) -> None:
        """Draw for the new size."""
        self._draw()

    def _draw(self) -> None:
        size = self.scrollable_content_region
        if size.width and size.height:
            self.set_rows(card_rows(self._card, size.width, size.height) if self._card else ())


def card_rows(card: Card, width: int, height: int) -> list[Row]:
    """All there is to say about a session in that many cells."""
    beside = width >= FACTS + FIGURES + GAP
    figures = figure_rows(card, FIGURES if beside and height < STACKED else width)
    if height >= STACKED and beside:
        facts_width = max(FIGURES, min(width // 2, 64))
        facts = [*fact_rows(card.summary, facts_width), *event_rows(card, facts_width)]
        return side_by_side(
            [*facts, (), *figures], sample_rows(card, width - facts_width - GAP)[:height], facts_width
        )
    if beside:
        facts_width = width - FIGURES - GAP
        facts = [*fact_rows(card.summary, facts_width), *event_rows(card, facts_width)]
        return side_by_side(facts, figures, facts_width)
    return [*figures, (), *fact_rows(card.summary, width), *event_rows(card, width)]


def card_text(card: Card) -> str:
    """The card as plain text, to be pasted elsewhere."""
    rows = [
        ((card.summary.name, "text"),),
        *fact_rows(card.summary, 200),
        *event_rows(card, 200),
        *figure_rows(card),
    ]
    return "\n".join("".join(text for text, _ in row).rstrip() for row in rows)


def fact_rows(summary: SessionSummary, width: int) -> list[Row]:
    """Models, configuration, machine, outcome: one row each."""
    facts: list[tuple[str, str, str]] = []
    if summary.error:
        facts.append(("error", summary.error, "bad"))
    if silence(summary):
        facts.append(("worker", f"{silence(summary)}; process {summary.pid} on {summary.host}", "warning"))
    if summary.prompts_failed:
        failed = f"{summary.prompts_failed} of {summary.prompt_count} prompts"
        facts.append(("failed", failed, "bad"))
    facts += [
        ("target", summary.target, "text"),
        ("drafter", summary.drafter, "text"),
        ("tree", "  ".join(part for part in (summary.tree, summary.device) if part), "text"),
    ]
    if summary.source != WATCH:
        facts += [("decoding", _decoding(summary), "text"), ("speed", _speed(summary), "text")]
    if summary.tags:
        facts.append(("tags", " ".join(f"#{tag}" for tag in summary.tags), "accent"))
    if summary.notes:
        facts.append(("note", summary.notes, "text"))
    facts.append(("took", duration(elapsed_seconds(summary)), "text"))
    return [
        (
            (label.ljust(LABEL), "muted"),
            (fitting(sanitize_line(text).split(SEVERAL), max(width - LABEL, 1), SEVERAL).rstrip(), role),
        )
        for label, text, role in facts
    ]


def event_rows(card: Card, width: int) -> list[Row]:
    """The events of the run, such as settings of a model that are applied: in whole, the newest first."""
    rows: list[Row] = []
    for event in card.events[: -EVENTS - 1 : -1]:
        text = sanitize_line(f"{event.kind}: {event.text}")
        for place, line in enumerate(wrap(text, max(width - LABEL, 1))):
            label = "" if place else "event"
            rows.append(((label.ljust(LABEL), "muted"), (line, "text")))
    more = len(card.events) - EVENTS
    if more > 0:
        rows.append(((" " * LABEL + f"{more:,} more: spectui sessions show {card.summary.id}", "muted"),))
    return rows


def figure_rows(card: Card, width: int = 200) -> list[Row]:
    """A row for each task: rounds, match rate, mean accepted length and how lengths are spread.

    Names are as wide as the longest where `width` cells allow it: a figure is never cut, nor out of line.
    """
    slots = task_slots(card.summary.tasks)
    means = [number(figures.mean_accepted_length) for figures in card.figures.values()]
    widest = max(4, *map(len, means)) if means else 4
    spreads = {task: _spread(figures) for task, figures in card.figures.items()}
    highest = max((max(spread, default=0.0) for spread in spreads.values()), default=0.0)
    longest = max((cell_len(sanitize_line(task)) for task in card.summary.tasks), default=0)
    room = max(width - BESIDE_NAME - widest, LEAST_NAME)
    names = min(max(longest, SHORT_NAME), NAME, room)
    return [
        _task_row(
            fit(sanitize_line(task), names) + " ",
            card.figures.get(task),
            f"task-{slots[task]}",
            widest,
            columns(spreads.get(task, ()), highest),
        )
        for task in card.summary.tasks
    ]


def sample_rows(card: Card, width: int) -> list[Row]:
    """A prompt and the beginning of what came of it."""
    if card.sample is None:
        return [((fit(_without_sample(card.summary), width).rstrip(), "muted"),)]
    asked = " ".join(card.sample.prompt.split())
    head: Cell = (fit(sanitize_line(asked), width).rstrip(), "note")
    return [(head,), *(((line, "text"),) for line in wrap(sanitize(card.sample.output).strip(), width))]


def _without_sample(summary: SessionSummary) -> str:
    """The reason that no output is shown."""
    if summary.source == WATCH:
        return "A watched server has no prompts of ours."
    if summary.live:
        return "No output yet."
    if RECORDING in summary.config and summary.prompts_done > summary.prompts_failed:
        return "Texts of its outputs are not known."
    return "No prompt was finished."


def side_by_side(left: list[Row], right: list[Row], width: int) -> list[Row]:
    """Two blocks of rows beside each other, the left one `width` cells wide."""
    rows: list[Row] = []
    for a, b in zip_longest(left, right, fillvalue=()):
        rows.append((*a, (" " * (width + GAP - row_width(a)), "text"), *b) if b else a)
    return rows


def _spread(figures: TaskFigures) -> list[float]:
    """The share of the rounds that each accepted length has, in `BINS` at most; none before a round."""
    if not figures.lengths:
        return []
    shares = [0.0] * (min(max(figures.lengths), BINS - 1) + 1)
    for length, rounds in figures.lengths.items():
        shares[min(length, BINS - 1)] += rounds / sum(figures.lengths.values())
    return shares


def _task_row(name: str, figures: TaskFigures | None, role: str, mean: int, bars: str) -> Row:
    return (
        (name, f"{role}-name"),
        ("α ", "muted"),
        (pad(share(figures.match_rate if figures else None), 3, "right"), "text"),
        ("  E ", "muted"),
        (pad(number(figures.mean_accepted_length if figures else None), mean, "right"), "strong"),
        ("  ", "text"),
        ((bars or NOTHING).ljust(BINS), role),
        (pad(short_count(figures.rounds if figures else 0), 5, "right"), "muted"),
    )


def _decoding(summary: SessionSummary) -> str:
    """``greedy, 96 new tokens``, from the configuration as it was recorded, whatever wrote it."""
    config = summary.config
    temperature = config.get("temperature", 0)
    parts = ["greedy" if not temperature else f"temperature {temperature}"]
    if temperature and config.get("top_p", 1) != 1:
        parts.append(f"top p {config['top_p']}")
    if config.get("raw"):
        parts.append("raw")
    if temperature and "seed" in config:
        parts.append(f"seed {config['seed']}")
    if "max_new_tokens" in config:
        parts.append(f"{config['max_new_tokens']} new tokens")
    if config.get("dtype", "auto") != "auto":
        parts.append(str(config["dtype"]))
    return SEVERAL.join(parts)


def _speed(summary: SessionSummary) -> str:
    parts = [f"{rate(summary.tokens_per_second)} tok/s"]
    if summary.speedup is not None:
        parts += [f"{number(summary.speedup)}× plain", range_words(summary)]
    return SEVERAL.join(parts)
