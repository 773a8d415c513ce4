"""`spectui compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from spectui.store.sources import WATCH
from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import json_line, line

if TYPE_CHECKING:
    from spectui.store.reading.reader import Reader
    from spectui.store.rows import SessionSummary


@click.command()
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option(
    "--sweep",
    "sweep_name",
    metavar="NAME",
    help="Compare the sessions of a sweep instead: the best drafter and tree of each task.",
)
@json_option
@shared_options
@click.pass_obj
def compare(state: State, a: str | None, b: str | None, sweep_name: str | None, as_json: bool) -> None:
    """Compare sessions A and B. Each is an id, a name, or 'last'. With --sweep, those of a sweep.

    Shows the figures of both reports side by side, with the interval of each difference; prompts that both ran
    are compared in pairs.
    """
    from spectui.store.analysis.as_json import comparison_json
    from spectui.store.analysis.compare import compare_sessions
    from spectui.tui.cli.output import print_grids
    from spectui.tui.report.contrasts import contrast_subject, contrast_tables

    if sweep_name is not None:
        if a is not None:
            raise click.UsageError("give either two sessions, or --sweep")
        _compare_sweep(state, sweep_name, as_json=as_json)
        return
    if a is None or b is None:
        raise click.UsageError("name two sessions, or a sweep with --sweep NAME")
    with state.reader() as reader:
        summaries = [reader.session(ref) for ref in (a, b)]
        if any(summary.source == WATCH for summary in summaries):
            _compare_watches(reader, summaries, as_json=as_json)
            return
        comparison = compare_sessions(reader, a, b)
    if as_json:
        json_line(comparison_json(comparison))
        return
    for sentence in contrast_subject(comparison):
        line(sentence)
    for what, why in comparison.notes.items():
        line(f"{what}: {why}")
    line()
    print_grids(contrast_tables(comparison))


def _compare_sweep(state: State, name: str, *, as_json: bool) -> None:
    from spectui.store.sweeps.compare import compare_sweep
    from spectui.tui.cli.output import print_grids, prose
    from spectui.tui.report.sweep import sweep_json, sweep_sentences, sweep_tables

    with state.reader() as reader:
        comparison = compare_sweep(reader, name)
    if as_json:
        json_line(sweep_json(comparison))
        return
    for sentence in sweep_sentences(comparison):
        prose(sentence)
    for what, why in comparison.notes.items():
        prose(f"{what}: {why}")
    line()
    print_grids(sweep_tables(comparison))


def _compare_watches(reader: Reader, summaries: Sequence[SessionSummary], *, as_json: bool) -> None:
    from spectui.tui.cli.output import table
    from spectui.tui.watching import report

    comparison = report.compare_watches(reader, summaries)
    if as_json:
        json_line(report.comparison_json(comparison))
        return
    line(report.comparison_words(comparison))
    line()
    table(("figure", *comparison.names), report.comparison_rows(comparison))
