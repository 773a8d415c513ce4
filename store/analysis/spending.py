"""Costs of a million tokens: seconds of the device, money at a price for its hour, energy where measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectui.store.counts.metrics import joules_per_million, price_per_million, seconds_per_million
from spectui.store.reading.devices import DeviceFigures, Times
from spectui.store.rows import SessionSummary, TaskFigures
from spectui.store.sources import RECORDING


@dataclass(frozen=True)
class PerMillion:
    """Costs of a million tokens; None where one is not known."""

    seconds: float | None
    price: float | None
    joules: float | None


@dataclass(frozen=True)
class Spending:
    """One task, or all of them: with speculation as it was, and decoding one token at a time."""

    task: str
    speculative: PerMillion
    plain: PerMillion
    """From the pace of plain decoding measured during the run, and the same mean power."""


ALL = "all"


def device_word(summary: SessionSummary) -> str:
    """The device that the seconds are of, in one word; a server does not tell its own."""
    if summary.server is not None:
        return "server"
    return "GPU" if summary.device.startswith(("cuda", "gpu")) else "CPU"


def overlap(summary: SessionSummary) -> bool:
    """True where a server had several requests at a time, whose seconds add up to more than those of the clock."""
    several = summary.config.get("concurrency", 1) != 1 or RECORDING in summary.config
    return summary.server is not None and several


def watts_of(summary: SessionSummary | DeviceFigures) -> float | None:
    """Mean power while the run decoded; None where nothing measured it."""
    if not summary.energy_joules or not summary.energy_seconds:
        return None
    return summary.energy_joules / summary.energy_seconds


def joules_per_token(summary: SessionSummary) -> float | None:
    """Energy of a token at the mean power of the run so far; None where nothing measures it or before a token."""
    million = joules_per_million(seconds_per_million(summary.tokens, summary.total_ms), watts_of(summary))
    return None if million is None else million / 1e6


def price_of(summary: SessionSummary, price: float | None = None) -> float | None:
    """The price asked for, or else the run's own."""
    configured = summary.config.get("price")
    return price if price is not None else float(configured) if isinstance(configured, int | float) else None


def spending(
    summary: SessionSummary, figures: Mapping[str, TaskFigures], price: float | None = None
) -> list[Spending]:
    """Costs by task, then of all together. `price` is for an hour of the device; None: the run's own.

    Of requests that overlap there is no price: each has but a share of the device.
    """
    return _spending(summary, figures, None if overlap(summary) else price_of(summary, price))


def device_spending(
    summary: SessionSummary, device: DeviceFigures, price: float | None = None
) -> list[Spending]:
    """As `spending`, of the part of a session that one class of device decoded."""
    return _spending(device, device.tasks, price_of(summary, price))


def _spending(
    of: SessionSummary | DeviceFigures, figures: Mapping[str, TaskFigures | Times], price: float | None
) -> list[Spending]:
    watts = watts_of(of)

    def per(seconds: float | None) -> PerMillion:
        return PerMillion(seconds, price_per_million(seconds, price), joules_per_million(seconds, watts))

    plain = per(None if of.plain_ms is None else seconds_per_million(1, of.plain_ms))
    rows = [(task, f.tokens, f.total_ms) for task, f in figures.items() if f.tokens]
    rows.append((ALL, of.tokens, of.total_ms))
    return [Spending(task, per(seconds_per_million(tokens, ms)), plain) for task, tokens, ms in rows]


def spending_json(rows: Sequence[Spending]) -> dict[str, Any]:
    """Costs by task as JSON: seconds, price and joules of a million tokens, speculative and plain."""
    return {
        row.task: {
            kind: {"seconds": part.seconds, "price": part.price, "joules": part.joules}
            for kind, part in (("speculative", row.speculative), ("plain", row.plain))
        }
        for row in rows
    }
