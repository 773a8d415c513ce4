"""`spectui report`."""

from __future__ import annotations

from pathlib import Path

import click

from tui.cli.options import State, json_option, shared_options
from tui.cli.output import json_line, line


def _file(writes: str) -> click.Path:
    return click.Path(path_type=Path, dir_okay=writes == "folder", file_okay=writes == "file")


@click.command()
@click.argument("session", default="last")
@json_option
@click.option("--csv", "csv_folder", type=_file("folder"), metavar="DIR", help="Write one CSV file a table.")
@click.option("--html", "html_file", type=_file("file"), metavar="FILE", help="Write one page with charts.")
@click.option("--svg", "svg_file", type=_file("file"), metavar="FILE", help="Write the charts.")
@shared_options
@click.pass_context
def report(
    context: click.Context,
    session: str,
    as_json: bool,
    csv_folder: Path | None,
    html_file: Path | None,
    svg_file: Path | None,
) -> None:
    """What a session says about acceptance: SESSION is an id, a name, or 'last' (the default).

    Acceptance by task, depth and entropy, with intervals from resampling prompts, and whether the task
    predicts it better than the depth in the tree.
    """
    from store.reader import Reader
    from store.report.report import build_report
    from store.report.shape import report_json
    from tui.report.files import write, write_csv
    from tui.report.tables import notes, subject, tables
    from tui.report.text import print_grids

    with Reader(context.ensure_object(State).database) as reader:
        found = build_report(reader, session)
    grids = tables(found)
    written = [] if csv_folder is None else write_csv(csv_folder, grids)
    if html_file is not None:
        from tui.report.page import page

        written.append(write(html_file, page(found)))
    if svg_file is not None:
        from tui.report.charts import charts
        from tui.report.svg import document

        written.append(write(svg_file, document(charts(found), [subject(found), found.verdict])))
    if as_json:
        json_line(report_json(found))
        return
    if written:
        for path in written:
            line(f"wrote {path}")
        return
    line(subject(found))
    for note in notes(found):
        line(note)
    line()
    print_grids(grids)
    line(found.verdict)
