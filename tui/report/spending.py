"""Time, energy and price of a million tokens, as a table and in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectui.store.analysis.spending import Spending, device_word, overlap, price_of, spending, watts_of
from spectui.store.rows import SessionSummary
from spectui.tui.report.grid import Cell, Column, Grid, grid

if TYPE_CHECKING:
    from spectui.store.analysis.report import Report

WH = 3600.0
_TITLE = "A million tokens take"
_TASK = Column("task", "task", "text")
_SPENT = (
    Column("seconds", "seconds", "count"),
    Column("plain_seconds", "without", "count"),
    Column("price", "price", digits=4),
    Column("plain_price", "without", digits=4),
    Column("energy_wh", "Wh", digits=1),
    Column("plain_energy_wh", "without", digits=1),
)
_OVERLAP = (
    "seconds: of requests, each from its first token to its last. The server may have had several at a time, so that"
    " they add up to more than its own: no price can be told from them."
)


def spending_grid(summary: SessionSummary, rows: Sequence[Spending]) -> Grid:
    """By task: seconds of the device, the price, and energy, with speculation and without."""
    watts = watts_of(summary)
    power = "" if watts is None else f" Mean power {watts:.0f} W, measured."
    note = _OVERLAP if overlap(summary) else _note(device_word(summary), rows, power)
    return grid("per_million", _TITLE, [_TASK, *_SPENT], [_spent(row) for row in rows], note)


def device_grids(report: Report) -> list[Grid]:
    """A line for each of several classes of devices, and what a million tokens take on each; none of a single one."""
    if not report.devices:
        return []
    device = Column("device", "device", "text")
    columns = [
        device,
        Column("hosts", "hosts", "count"),
        Column("prompts", "prompts", "count"),
        Column("tokens", "tokens", "count"),
        Column("tokens_per_second", "tok/s", digits=1),
        Column("speedup", "x plain"),
        Column("speedup_ci", "95 %", "interval"),
        Column("measured", "measured", "count"),
        Column("watts", "W", digits=0),
    ]
    parts = [part.figures for part in report.devices]
    rows: list[list[Cell]] = [
        [
            each.machine.words,
            len(each.hosts),
            each.prompts,
            each.tokens,
            each.tokens_per_second,
            each.speedup,
            each.speedup_range,
            each.baseline_count,
            watts_of(each),
        ]
        for each in parts
    ]
    note = (
        "x plain: over one token at a time, measured so often on the same class of device. Times, plain decoding and"
        " energy are never added up over classes; all other tables are of all prompts."
    )
    spent = [[part.figures.machine.words, *_spent(row)] for part in report.devices for row in part.spending]
    every = [row for part in report.devices for row in part.spending]
    return [
        grid("devices", "By class of device", columns, rows, note),
        grid("per_million", _TITLE, [device, _TASK, *_SPENT], spent, _note("device", every)),
    ]


def _spent(row: Spending) -> list[Cell]:
    return [
        row.task,
        row.speculative.seconds,
        row.plain.seconds,
        row.speculative.price,
        row.plain.price,
        None if row.speculative.joules is None else row.speculative.joules / WH,
        None if row.plain.joules is None else row.plain.joules / WH,
    ]


def _note(device: str, rows: Sequence[Spending], power: str = "") -> str:
    plain = any(row.plain.seconds is not None for row in rows)
    without = "; without: one token at a time, at the pace measured during the run" if plain else ""
    note = f"seconds: of the clock, while the {device} decodes{without}.{power}"
    if all(row.speculative.price is None for row in rows):
        return f"{note} --price P, for an hour of the device in any currency, adds the price."
    return f"{note} price: in the currency of --price."


def price_words(value: float) -> str:
    """A price with three digits that matter, never in powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.6f}"


def spending_words(summary: SessionSummary) -> str:
    """``price 0.42/M tok``, or ``1,234 s/M tok``; with energy where it is measured; "" before a round.

    A price is in whatever --price was given in; seconds are those of the clock while it decodes.
    """
    if not summary.tokens or not summary.total_ms or overlap(summary):  # of several devices there is no time
        return ""
    part = spending(summary, {})[-1].speculative
    words = []
    if part.price is not None:
        words.append(f"price {price_words(part.price)}/M tok")
    elif part.seconds is not None:
        words.append(f"{part.seconds:,.0f} s/M tok")
    if part.joules is not None:
        words.append(f"{part.joules / WH:,.0f} Wh/M tok")
    return " ".join(words)


def worth_showing(summary: SessionSummary) -> bool:
    """True where a live screen shows it: on a GPU, with a price, or with a power meter."""
    priced = price_of(summary) is not None or watts_of(summary) is not None
    return priced or device_word(summary) == "GPU"
