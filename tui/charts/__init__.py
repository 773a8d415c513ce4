"""The charts of a session, a module each: one that has a `CHART` is found, and is then on every screen."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectui.tui.charts.base import Chart


@cache
def all_charts() -> tuple[Chart, ...]:
    """Every chart, in the order in which the keys go through them."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    charts: list[Chart] = [module.CHART for module in modules if hasattr(module, "CHART")]
    return tuple(sorted(charts, key=lambda chart: chart.place))


def chart_named(name: str | None) -> Chart:
    """The chart of that name; the first one where there is none."""
    return next((chart for chart in all_charts() if chart.name == name), all_charts()[0])


def chart_after(chart: Chart, step: int = 1) -> Chart:
    """The chart so many places after this one, over the ends."""
    charts = all_charts()
    return charts[(charts.index(chart) + step) % len(charts)]
