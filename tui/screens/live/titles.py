"""The words around the live screen's panes: header, titles, notices, the columns of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual.content import Content

from spectui.store.explained import explained_words
from spectui.store.reading.choices import TreeChoice
from spectui.store.rows import GenerationRow, RoundRow, SessionSummary
from spectui.tui.model.progress import silence
from spectui.tui.model.state import RunState
from spectui.tui.model.transcript import wrap
from spectui.tui.terminal.cells import count, counted, fitting, number, share
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.rows import Cell, Row
from spectui.tui.widgets.status import SYMBOLS
from spectui.tui.widgets.table import Column


def text_title(shown: GenerationRow | None, state: RunState, width: int) -> Content:
    """``code · prompt 12 of 40 · running``, what fits of it in `width` cells."""
    if shown is None:
        return Content("no prompts" if state.complete else "loading")
    parts = [
        sanitize_line(shown.task),
        f"{word_for(state.summary)} {count(shown.position + 1)} of {count(state.summary.prompt_count)}",
        shown.status,
        *(["rejected drafts pruned"] if shown.pruned_at else []),
    ]
    return Content(fitting(parts, width))


def word_for(summary: SessionSummary) -> str:
    """The word for one prompt of a session."""
    return "request" if summary.of_clients else "prompt"


def prompt_words(row: GenerationRow, text: str) -> str:
    """The prompt's text; of a request, whose text is not recorded, its id and length."""
    if text:
        return text
    length = "" if row.prompt_tokens is None else f", {counted(row.prompt_tokens, 'token')} of prompt"
    return f"{row.prompt_id}{length}"


def tree_title(row: RoundRow, last: int, *, pinned: bool) -> list[str]:
    """``round 85 of 88``, ``2 of 14 accepted``, ``41 ms``: what comes first matters most."""
    where = f"round {count(row.number)} of {count(last)}" + (" (held)" if pinned else "")
    took = "the others were pruned" if row.pruned else f"{row.total_ms:,.0f} ms"
    return [where, f"{count(row.accepted_length)} of {count(row.node_count)} accepted", took]


def choice_title(choice: TreeChoice, budgets: Mapping[str, TreeChoice]) -> str:
    """``code: dynamic:3x2 · learned: 8 % faster than … · now math dynamic:4x2, logic dynamic:3x2``: the tree of a
    round in a run with a tree for each task, and why; then what every other task has by now."""
    words = f"{choice.task}: {choice.tree} · {choice.kind}: {choice.reason}"
    this = choice.task if choice.kind != "explore" else ""
    others = {task: each.tree for task, each in budgets.items() if task != this}
    if others and set(others.values()) == {choice.tree}:
        words += " · so has every other task"
    elif others:
        words += " · now " + ", ".join(f"{task} {tree}" for task, tree in others.items())
    return sanitize_line(words)


def notice_rows(
    summary: SessionSummary | None,
    trouble: str,
    gaps: str,
    width: int,
    unexplained: tuple[int, int] | None = None,
) -> list[Row]:
    """Errors in words, then what a server verified wrongly, then gaps, each on at most three lines; none when all is
    well."""
    rows = _wrong(summary, trouble, width)
    if summary is not None and unexplained is not None:
        words = explained_words(summary, unexplained)
        rows += _wrapped(f"✗ {words[:1].upper()}{words[1:]}.", "bad", width)
    return [*rows, *(_wrapped(f"! {gaps}", "warning", width) if gaps else [])]


def _wrong(summary: SessionSummary | None, trouble: str, width: int) -> list[Row]:
    if trouble:
        return _wrapped(f"! {sanitize_line(trouble)} (trying again)", "warning", width)
    if summary is None:
        return []
    log = f" Log: {summary.log_path}" if summary.log_path else ""
    if summary.status == "failed":
        words = f"✗ The run failed: {summary.error or 'no reason was recorded'}.{log}"
        return _wrapped(sanitize_line(words), "bad", width)
    if summary.silent_seconds is not None:
        who = f"process {summary.pid} on {summary.host}" if summary.pid is not None else "no worker yet"
        why = f"it was {summary.held_up_by}" if summary.held_up_by else "it is stopped, or hangs"
        words = f"! {silence(summary).capitalize()} ({who}): {why}.{log}"
        return _wrapped(sanitize_line(words), "warning", width)
    if summary.held_up_by and summary.status != "starting":  # whose stage stands in the status line
        reason = f"{summary.held_up_by[:1].upper()}{summary.held_up_by[1:]}"
        words = f"! {reason}; the run goes on by itself when that is over.{log}"
        return _wrapped(sanitize_line(words), "warning", width)
    if summary.status == "stopped" and summary.error:
        return _wrapped(sanitize_line(f"! Stopped: {summary.error}."), "warning", width)
    if summary.status == "interrupted":
        goes_on = "watch --vllm-dir" if summary.of_clients else f"run --resume {summary.id}"
        more = f"spectui {goes_on} goes on with it."
        words = f"! The worker is gone; what it had decoded is kept. {more}{log}"
        return _wrapped(sanitize_line(words), "warning", width)
    return []


def prompt_columns(state: Callable[[], RunState | None]) -> list[Column[GenerationRow]]:
    """Columns of the prompts pane, for a session that is read again and again."""

    def task(row: GenerationRow) -> Cell:
        now = state()
        slots = task_slots(now.summary.tasks) if now else {}
        return sanitize_line(row.task), f"task-{slots.get(row.task, 0)}"

    def sign(row: GenerationRow) -> Cell:
        return SYMBOLS.get(row.status, ("?", "muted"))

    def prompt(row: GenerationRow) -> Cell:
        now = state()
        text = now.prompts.get(row.id, "") if now else ""
        return sanitize_line(prompt_words(row, text)[:200]), "muted" if row.status == "pending" else "text"

    return [
        Column("", sign, 1),
        Column("#", lambda g: (count(g.position + 1), "muted"), 3, "right"),
        Column("task", task, 6),
        Column("tokens", _figure(lambda g: count(g.token_count)), 6, "right", keep=2),
        Column("τ", _figure(lambda g: number(g.tokens_per_round)), 4, "right", keep=1),
        Column("α", _figure(lambda g: share(g.match_rate)), 3, "right", keep=3),
        Column("prompt", prompt, 10, keep=4, grows=True),
    ]


def _figure(text: Callable[[GenerationRow], str]) -> Callable[[GenerationRow], Cell]:
    """A cell that stays empty until the prompt has a round."""
    return lambda row: (text(row) if row.round_count else "", "text")


def _wrapped(text: str, role: str, width: int) -> list[Row]:
    out = wrap(text, max(width - 2, 10))
    if len(out) > 3:
        out = [*out[:2], fitting([f"{out[2].rstrip()} …"], max(width - 2, 10))]
    return [((" " + line, role),) for line in out]
