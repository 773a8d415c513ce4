"""The columns of the list of sessions: what each shows, what it sorts by, when it gives way."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from spectui.store.rows import SESSION_STATUSES, SessionSummary
from spectui.store.sources import WATCH
from spectui.tui.model.progress import ago, failed_words, short_time
from spectui.tui.terminal.cells import NOTHING, count, number, share, short_count
from spectui.tui.terminal.glyphs import glyphs
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.widgets.rows import Cell
from spectui.tui.widgets.status import SYMBOLS
from spectui.tui.widgets.table import Column


def session_columns(marked: Container[int] = ()) -> list[Column[SessionSummary]]:
    """From left to right; on a narrow terminal the highest `keep` goes first. `marked` are ids."""

    def name(row: SessionSummary) -> Cell:
        text = sanitize_line(row.name)
        return (f"{glyphs().dots[1]} {text}", "key") if row.id in marked else (text, "strong")

    return [
        Column("#", lambda row: (str(row.id), "muted"), 4, "right", 8, order=lambda r: r.id, falling=True),
        Column("session", name, 14, widest=24, order=_folded("name")),
        Column("status", _status, 13, whole=True, order=_status_place),
        Column("prompts", _prompts, 7, "right", 4, order=lambda row: row.prompts_done, falling=True),
        Column(
            "tok",
            lambda row: (short_count(None if row.source == WATCH else row.tokens), "text"),
            5,
            "right",
            3,
            order=lambda row: row.tokens,
            falling=True,
        ),
        _figure("α", 3, 1, share, lambda row: row.match_rate),
        _figure("τ", 4, 1, number, lambda row: row.tokens_per_round),
        _figure("× plain", 7, 8, number, lambda row: row.speedup),
        Column(
            "started",
            _started,
            12,
            keep=2,
            whole=True,
            order=lambda row: row.started_at or row.created_at,
            falling=True,
        ),
        Column("drafter", _text("drafter"), 12, keep=5, order=_folded("drafter")),
        Column("tree", _text("tree"), 12, keep=6, whole=True, order=_folded("tree")),
        Column("target", _text("target"), 14, keep=9, widest=32, order=_folded("target")),
        Column("tags", _tags, 6, keep=7, grows=True, order=lambda row: row.tags or None),
        Column("tasks", _tasks, 28, keep=10, order=lambda row: tuple(row.tasks) or None),
    ]


def _figure(
    title: str,
    width: int,
    keep: int,
    shown: Callable[[float | None], str],
    value: Callable[[SessionSummary], float | None],
) -> Column[SessionSummary]:
    return Column(
        title, lambda row: (shown(value(row)), "text"), width, "right", keep, order=value, falling=True
    )


def _text(field: str) -> Callable[[SessionSummary], Cell]:
    return lambda row: (sanitize_line(getattr(row, field)), "text")


def _folded(field: str) -> Callable[[SessionSummary], Any]:
    """Text sorts without regard to case; what is empty has no place in the order."""
    return lambda row: getattr(row, field).casefold() or None


def _prompts(row: SessionSummary) -> Cell:
    if row.source == WATCH:
        return "watch", "muted"
    return f"{count(row.prompts_done)}/{count(row.prompt_count)}", "text"


def _status(row: SessionSummary) -> Cell:
    if row.silent_seconds is not None:
        return f"? silent {short_time(row.silent_seconds)}", "warning"
    if row.status == "finished" and row.prompts_failed:
        every = row.prompts_failed == row.prompt_count
        return (f"✗ {failed_words(row)}", "bad") if every else (f"! {failed_words(row)}", "warning")
    sign, role = SYMBOLS.get(row.status, ("?", "muted"))
    return f"{sign} {row.status}", role


def _status_place(row: SessionSummary) -> int | None:
    return SESSION_STATUSES.index(row.status) if row.status in SESSION_STATUSES else None


def _started(row: SessionSummary) -> Cell:
    return ago(row.started_at or row.created_at) or NOTHING, "muted"


def _tags(row: SessionSummary) -> Cell:
    return sanitize_line(" ".join(f"#{tag}" for tag in row.tags)), "accent"


def _tasks(row: SessionSummary) -> Cell:
    return " ".join(f"{sanitize_line(task)} {count(n)}" for task, n in row.tasks.items()), "muted"
