"""Time, energy and price of a million tokens, as a table and in a few words."""

from __future__ import annotations

from collections.abc import Sequence

from spectui.store.analysis.spending import Spending, device_word, price_of, spending, watts_of
from spectui.store.rows import SessionSummary
from spectui.tui.report.grid import Cell, Column, Grid, grid

WH = 3600.0


def spending_grid(summary: SessionSummary, rows: Sequence[Spending]) -> Grid:
    """By task: seconds of the device, the price, and energy, with speculation and without."""
    device = device_word(summary.device)
    columns = [
        Column("task", "task", "text"),
        Column("seconds", "seconds", "count"),
        Column("plain_seconds", "without", "count"),
        Column("price", "price", digits=4),
        Column("plain_price", "without", digits=4),
        Column("energy_wh", "Wh", digits=1),
        Column("plain_energy_wh", "without", digits=1),
    ]
    cells: list[list[Cell]] = [
        [
            row.task,
            row.speculative.seconds,
            row.plain.seconds,
            row.speculative.price,
            row.plain.price,
            None if row.speculative.joules is None else row.speculative.joules / WH,
            None if row.plain.joules is None else row.plain.joules / WH,
        ]
        for row in rows
    ]
    note = f"seconds: of the clock, while the {device} decodes"
    if any(row.plain.seconds is not None for row in rows):
        note += "; without: one token at a time, at the pace measured during the run"
    note += "."
    if watts_of(summary) is not None:
        note += f" Mean power {watts_of(summary):.0f} W, measured."
    if all(row.speculative.price is None for row in rows):
        note += " --price P, for an hour of the device in any currency, adds the price."
    else:
        note += " price: in the currency of --price."
    return grid("per_million", "A million tokens take", columns, cells, note)


def price_words(value: float) -> str:
    """A price with three digits that matter, never in powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else f"{value:.6f}"


def spending_words(summary: SessionSummary) -> str:
    """``price 0.42/M tok``, or ``1,234 s/M tok``; with energy where it is measured; "" before a round.

    A price is in whatever --price was given in; seconds are those of the clock while it decodes.
    """
    if not summary.tokens:
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
    return priced or device_word(summary.device) == "GPU"
