"""The progress of a run, its speed and the resources it uses: three lines at most, every number in its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from spectui.store.rows import GenerationRow, SessionSummary
from spectui.tui.model import progress
from spectui.tui.model.progress import Pace, elapsed_seconds, eta_seconds, failed_words, silence
from spectui.tui.model.speedups import short_range, times_words
from spectui.tui.terminal.cells import NOTHING, count, duration, fitting, number, pad, percent, rate, size
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Cell, Line, Row, row_width

SYMBOLS = {
    "starting": ("◌", "accent"),
    "running": ("●", "good"),
    "paused": ("‖", "warning"),
    "finished": ("✓", "good"),
    "stopped": ("■", "muted"),
    "interrupted": ("!", "warning"),
    "failed": ("✗", "bad"),
    "playing": ("▶", "accent"),
    "held": ("‖", "accent"),
    "pending": ("·", "muted"),
    "skipped": ("»", "muted"),
}
"""Status -> sign and role; the word always stands beside the sign."""

ONE_ROW = 120
"""Columns that take all figures on one row; below, a terminal of `TALL` rows gives them two. One of less
than `SHORT` rows shows how far the run is, and no figures."""
TALL, SHORT = 20, 14

BYTES = ("bytes", "B")
COMMAND_WORDS = {"pause": "pausing", "resume": "resuming", "skip": "skipping", "stop": "stopping"}


def status_cells(status: str, pending: Sequence[str] = (), silence: str = "") -> list[Cell]:
    """A status with its sign; a command that the worker has not taken yet is shown as under way. `silence` says for
    how long the worker has not been heard of, and takes the sign's meaning away."""
    sign, role = ("?", "warning") if silence else SYMBOLS.get(status, ("?", "muted"))
    cells: list[Cell] = [(f"{sign} ", role), (f"{status}, {silence}" if silence else status, role)]
    if pending:
        cells.append((f" {COMMAND_WORDS.get(pending[-1], pending[-1])}…", "warning"))
    return cells


class Status(Line):
    """The run at a glance. Ticks once a second while a clock is worth watching."""

    DEFAULT_CSS = "Status { height: 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pace = Pace()
        self._height = 2
        self._drawn: tuple[object, ...] = ()
        self._rate: float | None = None
        self._summary: SessionSummary | None = None
        self._generations: Sequence[GenerationRow] = ()
        self._pending: Sequence[str] = ()

    def on_mount(self) -> None:
        """Say that nothing is known yet, and start the clock."""
        self.set_rows([((" ", "text"), ("◌ ", "accent"), ("loading…", "accent"))])
        self.set_interval(1.0, self._tick)

    def show(
        self, summary: SessionSummary, generations: Sequence[GenerationRow], pending: Sequence[str]
    ) -> None:
        """Draw this state of the run; its `generations` are all of them, or none while they are being read."""
        self._rate = self._pace.add(summary.tokens, summary.total_ms)
        if not summary.live:
            self._rate = summary.tokens_per_second
        self._summary, self._generations, self._pending = summary, generations, pending
        # Figures change with every round; the clock's tick is often enough for them.
        if summary.silent_seconds is not None:
            self._rate = None
        where = (summary.status, summary.stage, summary.stage_done, summary.prompts_done)
        urgent = (*where, summary.silent_seconds, *pending)
        if urgent != self._drawn:
            self._drawn = urgent
            self._draw()

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._draw()

    def _tick(self) -> None:
        if self._summary is not None and self._summary.status in ("starting", "running"):
            self._draw()

    def _draw(self) -> None:
        if self._summary is None or not self.size.width:
            return
        rows = [self._progress_row(self._summary), *self._speed_rows(self._summary)]
        tall = self.screen.size.height
        height = (3 if self.size.width < ONE_ROW else 2) if tall >= TALL else 2 if tall >= SHORT else 1
        if height != self._height:  # assigning a height costs a layout even when it is the same
            self._height = height
            self.styles.height = height
        self.set_rows([*rows, ()][:height])

    def _progress_row(self, summary: SessionSummary) -> Row:
        width = self.size.width
        pending = (
            self._pending if summary.live else ()
        )  # nobody is left to take what a worker that died was sent
        status = status_cells(summary.status, pending, silence(summary))
        head: list[Cell] = [(" ", "text"), *status]
        head.append((" " * max(12 - row_width(tuple(status)), 1), "text"))
        if summary.status == "starting" and summary.silent_seconds is None:
            return tuple(head + _stage_cells(summary, width - row_width(tuple(head))))
        tails = list(self._tails(summary))
        tail = next((cells for cells in tails if row_width((*head, *cells)) < width), tails[-1])
        room = width - row_width(tuple(head)) - row_width(tuple(tail)) - 1
        part = summary.prompts_done / summary.prompt_count if summary.prompt_count else 0.0
        return (*head, *_meter(part, min(room, 60)), *tail)

    def _tails(self, summary: SessionSummary) -> Iterator[list[Cell]]:
        """Progress and estimated end in ever less room: the time to wait stays longest."""
        done: Cell = (f"  {count(summary.prompts_done)}/{count(summary.prompt_count)}", "strong")
        word: Cell = (" requests" if summary.of_clients else " prompts", "muted")
        clock: Cell = ("  " + pad(duration(elapsed_seconds(summary)), 7, "right"), "text")
        wait: list[Cell] = []
        if summary.live and not summary.of_clients:
            silent = summary.silent_seconds is not None
            eta = NOTHING if silent else duration(eta_seconds(self._generations))
            wait = [("  ETA ", "muted"), (pad(eta, 7, "right"), "text")]
        failed: list[Cell] = [(f", {failed_words(summary)}", "bad")] if summary.prompts_failed else []
        if self.size.width >= 100 and summary.plain_ms:
            times = times_words(summary.baseline_count)
            plain = f"   plain {rate(1000 / summary.plain_ms)} tok/s, measured {times}"
            yield [done, word, *failed, clock, *wait, (plain, "muted")]
        yield [done, word, *failed, clock, *wait]
        yield [done, *failed, clock, *wait]
        yield [done, *failed, *wait]
        yield [done, *wait]
        yield [done]

    def _speed_rows(self, summary: SessionSummary) -> list[Row]:
        parts: list[list[Cell]] = [
            [(pad(rate(self._rate), 7, "right"), "strong"), (" tok/s", "muted")],
            [(pad(number(summary.tokens_per_round), 4, "right"), "strong"), (" tok/round", "muted")],
            _explained_cells(summary),
            _plain_cells(summary) if summary.speedup or not summary.of_clients else [],
            _share_cells(summary),
            _spending_cells(summary),
            _machine_cells(summary),
        ]
        rows: list[Row] = []
        row: list[Cell] = []
        for part in filter(None, parts):
            lead: list[Cell] = [("  │ ", "faint")] if row else [(" ", "text")]
            if row and row_width((*row, *lead, *part)) > self.size.width:
                rows.append(tuple(row))
                row, lead = [], [(" ", "text")]
            if row_width((*row, *lead, *part)) <= self.size.width:  # else it has no room anywhere
                row += [*lead, *part]
        for words in progress.worker_words(summary):
            more: Row = (*row, ("  │ ", "faint"), (words, "muted"))
            if row_width(more) <= self.size.width:
                return [*rows, more]
        return [*rows, tuple(row)]


def _stage_cells(summary: SessionSummary, width: int) -> list[Cell]:
    stage = sanitize_line(summary.stage) or "starting the worker"
    done, total = summary.stage_done, summary.stage_total
    if done is None or not total:
        return [(fitting([f"{stage}…"], width), "text")]
    # A unit of its own, such as passes, stands once.
    bare = summary.stage_unit if summary.stage_unit in BYTES else ""
    amount = f"  {_amount(done, bare)} of {_amount(total, summary.stage_unit)}"
    clock = "  " + pad(duration(elapsed_seconds(summary)), 7, "right") if summary.started_at else ""
    room = width - len(stage) - len(amount) - len(clock) - 3
    if room < 6:
        return [(fitting([stage, amount.strip()], width, "  "), "text")]
    return [(stage + "  ", "text"), *_meter(done / total, min(room, 40)), (amount, "text"), (clock, "muted")]


def _amount(value: float, unit: str) -> str:
    if unit in BYTES:
        return size(value)
    text = f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{text} {sanitize_line(unit)}".rstrip()


def _meter(part: float, width: int) -> list[Cell]:
    if width < 4:
        return []
    full = round(min(max(part, 0.0), 1.0) * width)
    return [("━" * full, "accent"), ("─" * (width - full), "faint")]


def _plain_cells(summary: SessionSummary) -> list[Cell]:
    ratio = summary.speedup
    return [
        (pad(f"{number(ratio)}×" if ratio else NOTHING, 5, "right"), "strong"),
        (f" plain ({short_range(summary)})" if ratio else " plain", "muted"),
    ]


def _share_cells(summary: SessionSummary) -> list[Cell]:
    """The shares of the decoding time; of a server, which does not tell them, the source of its rounds."""
    cells: list[Cell] = []
    if not summary.rounds_from.split_time:
        about = "" if summary.rounds_from.ordered else " (in no order)"
        about = about if summary.rounds_from.exact else " (estimate)"
        return [("rounds from ", "muted"), (f"{summary.source}{about}", "text")]
    total = summary.total_ms
    for name, value in (
        ("draft", summary.draft_ms),
        ("verify", summary.verify_ms),
        ("other", summary.other_ms),
    ):
        words = pad(percent(None if value is None or not total else value / total), 5, "right")
        cells += [(f"{' ' if cells else ''}{name} ", "muted"), (words, "text")]
    return cells


def _explained_cells(summary: SessionSummary) -> list[Cell]:
    """The share of greedy rounds that the target's argmax explains, where a server recorded it: all, or it is wrong."""
    if not summary.greedy_rounds:
        return []
    whole = summary.explained_rounds == summary.greedy_rounds
    part = math.floor(1000 * summary.explained_rounds / summary.greedy_rounds) / 10
    words = "100 %" if whole else f"{part:.1f} %"
    return [
        ("argmax explains ", "muted"),
        (words, "good" if whole else "bad"),
        (f" of {count(summary.greedy_rounds)} greedy", "muted"),
    ]


def _spending_cells(summary: SessionSummary) -> list[Cell]:
    from spectui.tui.report.spending import spending_words, worth_showing

    return [(spending_words(summary), "text")] if summary.tokens and worth_showing(summary) else []


def _machine_cells(summary: SessionSummary) -> list[Cell]:
    cells: list[Cell] = []
    if not summary.live or summary.silent_seconds is not None:
        return cells
    if summary.cpu_percent is not None:
        cells += [
            ("cpu ", "muted"),
            (pad(f"{summary.cpu_percent:,.0f} %", 5, "right"), "text"),
            (" ", "text"),
        ]
    if summary.rss_bytes is not None:
        cells.append((pad(size(summary.rss_bytes), 7, "right"), "text"))
    return cells
