"""The replicas of a session as a table, with the test whether they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectui.tui.report.grid import Cell, Column, Grid, grid
from spectui.tui.terminal.cells import number

if TYPE_CHECKING:
    from spectui.store.analysis.report import Report

_COLUMNS = (
    Column("replica", "replica", "text"),
    Column("where", "where", "text"),
    Column("prompts", "prompts", "count"),
    Column("match_rate", "match"),
    Column("accepted_length", "accepted length"),
)


def replica_grids(report: Report) -> list[Grid]:
    """A line for each of several replicas; none where one worker decoded all."""
    factor = report.replicas
    if factor is None:
        return []
    rows: list[list[Cell]] = [
        [f"replica {each.number}" if each.number else "worker", each.name, each.prompts, each.match_rate,
         each.accepted_length]
        for each in factor.parts
    ]  # fmt: skip
    if factor.match_p is None and factor.length_p is None:
        words = "Too few prompts to say whether they differ: that takes two replicas of two prompts."
    else:
        words = (
            f"If the replica means nothing, match rates differ as much with p = {number(factor.match_p, 4)}, accepted "
            f"lengths with p = {number(factor.length_p, 4)}: prompts dealt anew to the replicas, without the means of "
            "their tasks."
        )
    return [grid("replicas", "Replicas", _COLUMNS, rows, words)]
