"""The report on a session: the page of `spectui report` in the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual import on

from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.navigation.keymap import bindings
from spectui.tui.report.files import save_as
from spectui.tui.report.text import report_lines
from spectui.tui.screens.page import PageScreen, Progress
from spectui.tui.widgets.report_view import ReportView

if TYPE_CHECKING:
    from spectui.store.analysis.report import Report


class ReportScreen(PageScreen["Report"]):
    """One session's report, on a page that scrolls."""

    BINDINGS = bindings("report")
    PAGE = "report"

    def view(self) -> ReportView:
        """The page of the report."""
        return ReportView(id="page-view")

    def work(self, reader: Reader, progress: Progress) -> Report:
        """Build the report."""
        from spectui.store.analysis.report import build_report

        return build_report(reader, self.session_id, progress)

    def show(self, result: Report) -> None:
        """Draw the report."""
        self.query_one(ReportView).show(result)

    def summary_of(self, result: Report) -> SessionSummary:
        """The session that the report is on."""
        return result.session

    def text(self, result: Report) -> str:
        """The report as `spectui report` prints it."""
        return "\n".join(report_lines(result)) + "\n"

    @on(ReportView.Drawn)
    def _page_drawn(self, message: ReportView.Drawn) -> None:
        self.query_one("#page").border_subtitle = "← → scroll sideways" if message.wide else ""

    def action_section(self, step: int) -> None:
        """Go to the next part of the page, or to the one before."""
        self.query_one(ReportView).go(step)

    def action_end(self) -> None:
        """Go to the end of the page."""
        self.query_one(ReportView).scroll_end(animate=False)

    def action_save(self) -> None:
        """Ask for a place and write the report to it."""
        report = self.result

        def save(place: Path) -> str:
            assert report is not None
            first, *others = save_as(place, report)
            return f"Wrote {first}{f' and {len(others)} more' if others else ''}."

        hint = "NAME.html is one page, NAME.svg the charts, NAME a folder of CSV files."
        self.ask_for_place("write the report", ".html", hint, save)
