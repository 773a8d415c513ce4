"""Figures of watched servers as metrics, in the format that Prometheus's textfile collector reads."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from spectui.servers.watch.server import View
from spectui.servers.watch.sources import FIGURES

PREFIX = "spectui_watch"
VERDICTS = ("YES", "NO", "EVEN", "?")


def exposition(views: Sequence[View]) -> str:
    """The metrics of all servers. What is not known has no series; a server that does not answer has `up` 0 alone."""
    registry = CollectorRegistry()
    labels = ("server", "model")
    up = Gauge(f"{PREFIX}_up", "1 while the server tells its counters", labels, registry=registry)
    verdict = Gauge(f"{PREFIX}_pays", "1 for the answer in force", (*labels, "verdict"), registry=registry)
    position = Gauge(
        f"{PREFIX}_position_accepted_share",
        "share of the drafts that reached a position in which it was accepted",
        (*labels, "position"),
        registry=registry,
    )
    gauges = {
        name: Gauge(f"{PREFIX}_{name}", f"{figure.help}, in {figure.unit}", labels, registry=registry)
        for name, figure in FIGURES.items()
    }
    for view in views:
        key = (view.url, view.model)
        up.labels(*key).set(1 if view.answers else 0)
        if not view.answers:
            continue
        for name, figure in FIGURES.items():
            if (value := figure.value(view)) is not None:
                gauges[name].labels(*key).set(value)
        if view.sample is not None and view.sample.speculative:
            for answer in VERDICTS:
                verdict.labels(*key, answer).set(1 if view.payoff.verdict == answer else 0)
        figures = view.shown
        for place, one in enumerate(figures.positions if figures else []):
            if one.accepted is not None:
                position.labels(*key, str(place + 1)).set(one.accepted)
    return generate_latest(registry).decode()
