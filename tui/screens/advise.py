"""The tree that pays for each task: the page of `spectui advise` in the dashboard."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spectui.decoding.errors import UsageError
from spectui.store.analysis.spending import Spending, spending
from spectui.store.paths import expanded
from spectui.store.reading.choices import TreeChoice, choices, latest_choices
from spectui.store.reading.reader import Reader
from spectui.store.rows import SessionSummary
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.page import PageScreen, Progress
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Row, Rows, row_width

if TYPE_CHECKING:
    from spectui.decoding.trees.advise.advice import Advice
    from spectui.decoding.trees.advise.draft_length import LengthAdvice
    from spectui.tui.report.grid import Grid

TEXT = 110
"""Cells that sentences are folded to at most."""


@dataclass(frozen=True)
class Page:
    """The advice for a session, and its trees and spending so far."""

    advice: Advice | LengthAdvice
    """Of a server's session, advice on the length of its drafts."""
    spent: list[Spending]
    latest_choices: dict[str, TreeChoice]
    """Of a run with a tree for each task: the tree that each task has now."""


class AdviceView(Rows, can_focus=True):
    """The page; a table that is wider scrolls sideways."""

    DEFAULT_CSS = "AdviceView { overflow-x: auto; scrollbar-size: 0 1; scrollbar-gutter: stable; }"
    BINDINGS = bindings("advice_view")

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._page: Page | None = None

    def show(self, page: Page) -> None:
        """Show this advice."""
        self._page = page
        self.on_resize()

    def on_resize(self) -> None:
        """Draw for the new width."""
        if self._page is not None and self.room:
            rows = page_rows(self._page, self.room)
            widest = max(map(row_width, rows), default=0)
            self.set_rows(rows, widest if widest > self.room else 0)


def page_rows(page: Page, width: int) -> list[Row]:
    """The verdict, what each task has now and why, the tables."""
    from spectui.tui.widgets.report_view import table_rows

    fold = max(min(width, TEXT), 20)
    subject, sentences, tables = _contents(page)
    rows: list[Row] = [((line, "strong"),) for line in textwrap.wrap(sanitize_line(subject), fold)]
    rows.append(())
    for words in sentences:
        rows += [((line, "text"),) for line in textwrap.wrap(sanitize_line(words), fold)]
    for task, choice in page.latest_choices.items():
        words = sanitize_line(f"{task} has {choice.tree} ({choice.kind}): {choice.reason}")
        rows += [((line, "muted"),) for line in textwrap.wrap(words, fold)]
    for grid in tables:
        rows += [(), *table_rows(grid, {}, width)]
    return rows


def _contents(page: Page) -> tuple[str, list[str], list[Grid]]:
    """The subject, the sentences and the tables of a page."""
    from spectui.decoding.trees.advise.advice import Advice
    from spectui.decoding.trees.advise.output import undecided, verdict
    from spectui.tui.report.advice import advice_subject, advice_tables, beyond
    from spectui.tui.report.draft_length import length_subject, length_tables, length_words
    from spectui.tui.report.spending import spending_grid

    advice = page.advice
    if not isinstance(advice, Advice):
        return length_subject(advice), length_words(advice), length_tables(advice)
    sentences = [verdict(advice), *undecided(advice), *beyond(advice)]
    return (
        advice_subject(advice),
        sentences,
        [*advice_tables(advice), spending_grid(advice.summary, page.spent)],
    )


class AdviseScreen(PageScreen[Page]):
    """The advice for one session."""

    BINDINGS = bindings("advise")
    PAGE = "which tree pays"

    def view(self) -> AdviceView:
        """The page of the advice."""
        return AdviceView(id="page-view")

    def work(self, reader: Reader, progress: Progress) -> Page:
        """Weigh the trees."""
        from spectui.decoding.trees.advise.advice import advise
        from spectui.decoding.trees.advise.draft_length import advise_length

        if reader.session(self.session_id).server is not None:
            return Page(advise_length(reader, self.session_id), [], {})
        advice = advise(
            reader, self.session_id, lambda done, total: progress("weighing trees", done / max(total, 1.0), 1)
        )
        spent = spending(advice.summary, reader.figures(self.session_id))
        return Page(advice, spent, latest_choices(choices(reader, self.session_id)))

    def show(self, result: Page) -> None:
        """Draw the advice."""
        self.query_one(AdviceView).show(result)

    def summary_of(self, result: Page) -> SessionSummary:
        """The session that was weighed."""
        return result.advice.summary

    def text(self, result: Page) -> str:
        """The page as text."""
        lines = ("".join(cell for cell, _ in row).rstrip() for row in page_rows(result, 200))
        return "\n".join(lines) + "\n"

    def action_save(self) -> None:
        """Ask for a place and write the plan file."""
        page = self.result

        def save(place: Path) -> str:
            from spectui.decoding.trees.advise.advice import Advice
            from spectui.decoding.trees.advise.output import plan_of
            from spectui.decoding.trees.plan_file import save_plan

            assert page is not None
            if not isinstance(page.advice, Advice):
                raise UsageError("a server's session has no trees to save; it says the draft's length")
            save_plan(plan_of(page.advice), expanded(str(place)), force=None)
            return "Written; use it with: spectui run --tree auto:FILE"

        hint = "For spectui run --tree auto:FILE"
        self.ask_for_place("write a plan file", "-trees.json", hint, save)
