"""A report as one HTML file that needs nothing else: styles and charts are in it, and no script."""

from __future__ import annotations

from collections.abc import Sequence

from spectui.store.analysis.report import Report
from spectui.tui.report.charts import charts
from spectui.tui.report.grid import Grid
from spectui.tui.report.svg import clean, style
from spectui.tui.report.tables import facts, notes, subject, tables

_STYLE = """
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif;
  background: var(--background); color: var(--text); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
figure { margin: 1.5rem 0; overflow-x: auto; } svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem .15rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
tr.first td { border-top: 2px solid var(--faint); } thead th { border-bottom: 2px solid var(--faint); }
th.word, td.word { text-align: left; }
.muted { color: var(--muted); } .verdict { border-left: 4px solid var(--accent); padding: .3rem 0 .3rem 1rem; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Browsers fetch nothing for this page, whatever text it holds."""


def page(report: Report) -> str:
    """The whole file. Text of models, sessions and prompts is escaped."""
    drawn = "".join(f"<figure>{chart.standalone()}</figure>\n" for chart in charts(report))
    remarks = "".join(f"<li>{clean(note)}</li>" for note in notes(report))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{clean(report.session.name)} - spectui report</title>"
        f"<style>{style()}{_STYLE}</style></head>\n<body>\n"
        f"<h1>{clean(subject(report))}</h1>\n{_facts(facts(report))}"
        f'<p class="verdict">{clean(report.verdict)}</p>\n'
        + (f"<ul>{remarks}</ul>\n" if remarks else "")
        + drawn
        + "".join(map(_table, tables(report)))
        + "</body></html>\n"
    )


def _facts(known: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<div><span class="muted">{clean(name)}</span> {clean(value)}</div>\n' for name, value in known
    )


def _table(grid: Grid) -> str:
    def cells(tag: str, texts: Sequence[str]) -> str:
        kinds = [' class="word"' if i < grid.left else "" for i in range(len(texts))]
        return "".join(f"<{tag}{kind}>{clean(each)}</{tag}>" for kind, each in zip(kinds, texts, strict=True))

    head = f"<tr>{cells('th', grid.head)}</tr>"
    first = set(grid.groups())
    tags = ['<tr class="first">' if i in first else "<tr>" for i in range(len(grid.rows))]
    rows = "".join(f"{tag}{cells('td', row)}</tr>\n" for tag, row in zip(tags, grid.texts(), strict=True))
    note = f'<p class="muted">{clean(grid.note)}</p>\n' if grid.note else ""
    return (
        f"<h2>{clean(grid.title)}</h2>\n{note}"
        f'<div class="wide"><table><thead>{head}</thead>\n<tbody>{rows}</tbody></table></div>\n'
    )
