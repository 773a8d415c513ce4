"""`spectui report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from spectui.store.sources import WATCH
from spectui.tui.cli.options import State, json_option, price_option, shared_options
from spectui.tui.cli.output import json_line, line
from spectui.tui.terminal.tables import terminal_width

if TYPE_CHECKING:
    from spectui.store.reading.reader import Reader


def _file(writes: str) -> click.Path:
    return click.Path(path_type=Path, dir_okay=writes == "folder", file_okay=writes == "file")


@click.command()
@click.argument("session", default="last")
@json_option
@click.option(
    "--csv", "csv_folder", type=_file("folder"), metavar="DIR", help="Write one CSV file per table."
)
@click.option(
    "--html", "html_file", type=_file("file"), metavar="FILE", help="Write a page with tables and charts."
)
@click.option("--svg", "svg_file", type=_file("file"), metavar="FILE", help="Write the charts only.")
@click.option(
    "--card", is_flag=True, help="Print the table of model cards instead: subset by position, in Markdown."
)
@click.option("--force", is_flag=True, help="Replace existing files.")
@price_option
@shared_options
@click.pass_obj
def report(
    state: State,
    session: str,
    as_json: bool,
    csv_folder: Path | None,
    html_file: Path | None,
    svg_file: Path | None,
    card: bool,
    force: bool,
    price: float | None,
) -> None:
    """Report how tokens of a session were accepted. SESSION is an id, a name, or 'last' (the default).

    Shows acceptance by task, depth and entropy with 95 % intervals, and tests whether the task predicts it
    better than the depth in the tree.
    """
    from spectui.store.analysis.as_json import report_json
    from spectui.store.analysis.report import build_report
    from spectui.store.files import is_stream
    from spectui.tui.report.files import check_places, write_charts, write_csv, write_page
    from spectui.tui.report.tables import tables
    from spectui.tui.report.text import report_lines

    with state.reader() as reader:
        summary = reader.session(session)
        if summary.source == WATCH:
            if card or price is not None or any((csv_folder, html_file, svg_file)):
                raise click.UsageError(
                    f"session '{summary.name}' is a watched server: --csv, --html, --svg, --card and --price are for"
                    " runs; print its report as text or with --json"
                )
            _print_watch(reader, summary.id, as_json=as_json)
            return
    if card:
        _print_card(state, session, as_json=as_json, files=[csv_folder, html_file, svg_file])
        return
    check_places(csv_folder, html_file, svg_file, force=force)
    with state.reader() as reader:
        session_report = build_report(reader, session, price=price)
    written = [] if csv_folder is None else write_csv(csv_folder, tables(session_report), force=force)
    if html_file is not None:
        written.append(write_page(html_file, session_report, force=force))
    if svg_file is not None:
        written.append(write_charts(svg_file, session_report, force=force))
    if as_json:
        json_line(report_json(session_report))
        return
    if written:
        for path in written:
            if not is_stream(path):  # a pipe or /dev/stdout: there the report is
                line(f"wrote {path}")
        return
    for text in report_lines(session_report, terminal_width()):
        line(text)


def _print_watch(reader: Reader, session_id: int, *, as_json: bool) -> None:
    from spectui.servers.watch.sources import as_json as view_json
    from spectui.tui.cli.output import table
    from spectui.tui.watching.report import SEGMENTS, report_lines, watch_report

    report = watch_report(reader, session_id)
    if as_json:
        json_line(view_json(report.view))
        return
    table(SEGMENTS, report.segments)
    for text in report_lines(report):
        line(text)


def _print_card(state: State, session: str, *, as_json: bool, files: list[Path | None]) -> None:
    from spectui.store.analysis.card import build_card
    from spectui.tui.report.card import card_json, card_lines

    if any(files):
        raise click.UsageError("--card prints one table; write it with > FILE")
    with state.reader() as reader:
        card = build_card(reader, session)
    if as_json:
        json_line(card_json(card))
        return
    for text in card_lines(card):
        line(text)
