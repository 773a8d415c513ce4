"""The panes of one watched server as rows: pure functions of a `View` and the room there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spectui.servers.watch.events import Event
from spectui.servers.watch.figures import Figures, Position
from spectui.servers.watch.server import Course, View
from spectui.store.samples import Histogram
from spectui.tui.terminal.cells import NOTHING, bar, fit, fitting, number, pad, percent
from spectui.tui.terminal.glyphs import glyphs
from spectui.tui.terminal.tables import folded
from spectui.tui.terminal.textsafe import sanitize_line
from spectui.tui.watching.words import STATE_SIGNS, VERDICT_ROLES, clock, pay_words, verdict
from spectui.tui.widgets.rows import Row

ALERT_ROLES = {"▲": "warning", "▼": "bad"}


def dimmed(rows: Sequence[Row]) -> list[Row]:
    """Rows whose figures are not of now: none in full colour."""
    return [tuple((text, "muted" if role != "faint" else role) for text, role in row) for row in rows]


def pay_rows(view: View, width: int) -> list[Row]:
    """Does it pay: the first words are the answer."""
    result = view.payoff
    lines = [sanitize_line(line) for line in pay_words(view)]
    if view.plain:
        return [
            (("■ ", "muted"), (fitting([lines[0]], width - 2), "strong")),
            *(((fitting([line], width), "muted"),) for line in lines[1:]),
        ]
    if view.sample is None or (result.verdict == "?" and not result.why):
        return [((fitting([sanitize_line(view.words)], width), "muted"),)]
    head = f"{verdict(result)}   "
    if width < LONG:  # whole, on as many lines as it takes
        first, *others = folded(f"{head}{lines[0]}", width)
        rows: list[Row] = [
            ((first[: len(head)], VERDICT_ROLES[result.verdict]), (first[len(head) :], "text"))
        ]
        others += [part for line in lines[1:] for part in folded(line, width)]
        return [*rows, *(((line, "text"),) for line in others)]
    answer = fitting(lines[0].split("  "), max(width - len(head), 8), "  ")
    return [
        ((head, VERDICT_ROLES[result.verdict]), (answer, "text")),
        *(((fitting(line.split("  "), width, "  "), "text"),) for line in lines[1:]),
    ]


def position_rows(view: View, width: int, height: int) -> list[Row]:
    """Acceptance by position: where all before it were accepted, and of all rounds, as vLLM prints it."""
    figures = view.shown
    if figures is None or not figures.positions:
        words = {
            "sglang": "SGLang does not count by position.",
            "llama.cpp": "Known once a request with drafts has ended.",
        }
        if view.plain:
            return [(("It does not speculate.", "muted"),)]
        why = words.get(figures.engine, "No draft yet.") if figures else "Nothing is known yet."
        return [((fitting([why], width), "muted"),), *task_rows(view, width)]
    wide = width >= 34
    room = max(width - (29 if wide else 21), 4)
    head = f"{'pos':<4}{'reached ' if wide else ''}{'accepted':<{room + 8}}"
    rows: list[Row] = [((fit(f"{head}{'of all':>9}", width), "muted"),)]
    places = figures.positions
    note = _worth_rows(figures, places, width)
    most = max(height - 1 - len(note), 1)
    for index, place in enumerate(places[:most]):
        accepted = place.accepted
        rows.append(
            (
                (f"{index + 1:>3} ", "muted"),
                (f"{percent(place.reached):>7} " if wide else "", "muted"),
                (" " * room if accepted is None else bar(accepted, room), "accepted"),
                (f" {percent(accepted):>7}", "strong"),
                (f"{percent(place.of_all):>9}", "muted"),
            )
        )
    if len(places) > most:
        rows[-1] = ((f" … {len(places) - most + 1} more positions", "muted"),)
    return [*rows, *note, *task_rows(view, width)]


def _worth_rows(figures: Figures, places: Sequence[Position], width: int) -> list[Row]:
    worth = figures.worth_ms(len(places) - 1)
    if worth is None:
        return []
    words = f"position {len(places)} pays if it costs less than {worth:.1f} ms a round"
    return [((line, "text"),) for line in folded(words, width)]


def task_rows(view: View, width: int) -> list[Row]:
    """Tokens a round by task, where clients label their requests (SGLang)."""
    tasks = view.shown.tasks if view.shown else ()
    rows: list[Row] = []
    for counts in tasks:
        if counts.rounds:
            value = f"{counts.tokens / counts.rounds:.2f} tok/round  {counts.rounds:,.0f} rounds"
            name = fit(sanitize_line(counts.task), max(width - len(value) - 1, 6))
            rows.append(((f"{name} ", "strong"), (value, "text")))
    return rows


def length_rows(view: View, width: int, height: int) -> list[Row]:
    """Rounds with a draft by accepted length: exact."""
    figures = view.shown
    lengths = figures.lengths if figures else []
    if figures is None or not lengths:
        return [((fitting(["No accepted length is counted here."], width), "muted"),)]
    drafts = figures.drafts or 1.0
    brings = figures.tokens_per_draft or 1.0
    rows: list[Row] = [
        ((fitting([f"n {drafts:,.0f}", f"E {brings - 1:.2f}", f"τ {brings:.2f}"], width, "  "), "muted"),)
    ]
    room = max(width - 11, 4)
    top = max(lengths)
    most = max(height - 1, 1)
    for length, rounds in enumerate(lengths[:most]):
        drawn = bar(rounds / top if top else 0.0, room)
        rows.append(
            ((f"{length:>2} ", "muted"), (drawn, "accepted"), (f" {percent(rounds / drafts):>6}", "text"))
        )
    if len(lengths) > most:
        rest = sum(lengths[most - 1 :])
        rows[-1] = ((f" … {most - 1} and more {percent(rest / drafts):>6}", "muted"),)
    return rows


SERIES: tuple[tuple[str, str, Callable[[Figures], float | None], int], ...] = (
    ("τ tok/round", "τ", lambda f: f.tokens_per_round, 2),
    ("ms a token", "ms/tk", lambda f: f.ms_per_token, 1),
    ("tok/s", "tok/s", lambda f: f.tokens_per_second or None, 0),
    ("drafted %", "draft", lambda f: None if f.drafting is None else f.drafting * 100, 0),
    ("running", "run", lambda f: f.running if f.running else None, 0),
)
"""Names of a course, in full and short; its value; digits."""


LONG = 60
"""Cells from which names are written out."""
COURSE_CELLS = {True: (12, 7, 17), False: (6, 6, 13)}
"""Cells of name, value and range."""


def course_columns(width: int) -> int:
    """Stretches that a course has room for."""
    return max(width - sum(COURSE_CELLS[width >= LONG]) - 1, 4)


def course_rows(view: View, width: int) -> list[Row]:
    """The figures over time: a row each with its present value, its bars and its range.

    The present speed is that of the status line: where counters move at the ends of requests only, the last stretch
    holds all tokens of a request or none.
    """
    course = view.course
    if course is None:
        return []
    long = width >= LONG
    name_width, value_width, range_width = COURSE_CELLS[long]
    columns = course_columns(width)
    rows: list[Row] = []
    for name, short, value, digits in SERIES:
        values = [None if figures is None else value(figures) for figures in course.figures][-columns:]
        known = [one for one in values if one is not None]
        if not known:
            continue
        marks = [mark - (len(course.figures) - len(values)) for mark in course.restarts]
        low, high = min(known), max(known)
        extent = f"{low:,.{digits}f} – {high:,.{digits}f}" if low != high else ""
        now = values[-1] if values[-1] is not None else known[-1]
        if short == "tok/s" and view.tokens_per_second is not None:
            now = view.tokens_per_second
        rows.append(
            (
                (fit(name if long else short, name_width), "muted"),
                (pad(f"{now:,.{digits}f}", value_width - 1, "right") + " ", "strong"),
                (drawn_course(values, marks), "accent"),
                (pad(extent, range_width, "right"), "muted"),
            )
        )
    return rows


def drawn_course(values: Sequence[float | None], marks: Sequence[int] = ()) -> str:
    """Bars, one a stretch: the lowest value half as high as the highest, so that small changes are seen too.

    A gap where nothing is known, a line at a restart.
    """
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    up = glyphs().up
    cells = [
        " " if value is None else up[4 + round((value - low) / (high - low) * 4) if high > low else 4]
        for value in values
    ]
    for mark in marks:
        if 0 <= mark < len(cells):
            cells[mark] = RESTART if not glyphs().ascii else "!"
    return "".join(cells)


RESTART = "┊"


def span_words(course: Course | None) -> str:
    """The title of the course."""
    if course is None:
        return "over time"
    minutes = round((course.end - course.begin) / 60)
    return (
        f"last {minutes} min" if minutes < 60 else "last hour" if minutes == 60 else f"last {minutes // 60} h"
    )


def serving_rows(view: View, width: int) -> list[Row]:
    """The requests at work, and the times that clients wait."""
    sample, figures = view.sample, view.shown
    if sample is None:
        return []
    parts = [f"running {_whole(sample.running)}", f"waiting {_whole(sample.waiting)}"]
    if sample.kv is not None:
        parts.append(f"KV {percent(sample.kv)}")
    if figures is not None:
        if figures.prefix_queries:
            parts.append(f"prefix hits {percent((figures.prefix_hits or 0) / figures.prefix_queries)}")
        if figures.preempted:
            parts.append(f"preempted {figures.preempted:,.0f}")
        if figures.first_tokens is not None and figures.seconds:
            parts.append(f"{figures.first_tokens / figures.seconds:.1f} req/s")
    rows: list[Row] = [((fitting(parts, width), "text"),)]
    if figures is None:
        return rows
    table = _waits(figures)
    ends = _ended(figures)
    if table:
        rows.append(((fitting([f"{'':<14}{'p50':>9}{'p95':>9}"], width), "muted"),))
        for place, (name, halves, note) in enumerate(table):
            right = "   " + (ends[place] if width >= 70 and place < len(ends) else note)
            text = f"{name:<14}{halves}"
            rows.append(((text, "text"), (fit(right, max(width - len(text), 0)).rstrip(), "muted")))
    elif ends:
        rows.append(((fitting(["ended: " + ", ".join(ends)], width), "muted"),))
    return rows


def _waits(figures: Figures) -> list[tuple[str, str, str]]:
    rounds = "a round" if figures.engine == "vllm" else "a token"
    rows = []
    for name, histogram, note in (
        ("first token", figures.first_token, ""),
        (rounds, figures.round_time, "steps of a request" if figures.engine == "vllm" else ""),
        ("a token", figures.token_time, "mean of a request"),
    ):
        if histogram is not None and histogram.count > 0:
            rows.append((name, f"{_quantile(histogram, 0.5):>9}{_quantile(histogram, 0.95):>9}", note))
    return rows


def _quantile(histogram: Histogram, part: float) -> str:
    value = histogram.quantile(part)
    if value is None:
        return NOTHING
    return f"{value * 1000:,.0f} ms" if value < 9.995 else f"{value:,.1f} s"


def _ended(figures: Figures) -> list[str]:
    total = sum(count for _, count in figures.finished)
    if not total:
        return []
    return [
        f"{sanitize_line(reason)} {percent(count / total)}" for reason, count in figures.finished if count
    ]


def event_rows(view: View, width: int, height: int) -> list[Row]:
    """The newest events first."""
    return [event_row(event, "", width) for event in reversed(view.events)][:height] or [
        (("Nothing has happened yet.", "muted"),)
    ]


def event_row(event: Event, name: str, width: int) -> Row:
    """``22:58:31  ▼ τ fell ...``."""
    role = ALERT_ROLES.get(event.sign, "text")
    before = f"{clock(event.at)} " if width >= 60 else f"{clock(event.at)[:5]} "
    who = f"{name}  " if name else ""
    return (
        (before, "muted"),
        (f"{event.sign} ", role),
        (who, "strong"),
        (fitting([sanitize_line(event.text)], max(width - len(before) - 2 - len(who), 8)), "text"),
    )


UNSEEN: dict[str, tuple[tuple[str, str], ...]] = {
    "vllm": (
        ("tasks", "run --server drives ours"),
        ("per request", "--per-request-spec-decode-metrics"),
        ("rejected tokens", "no counter"),
        ("lossy rejection", "the start command"),
    ),
    "llama.cpp": (
        ("tasks", "run --server drives ours"),
        ("live drafts", "counted at a request's end"),
        ("KV in use", "no counter"),
        ("rejected tokens", "no counter"),
    ),
    "sglang": (
        ("by position", "no counter"),
        ("accepted length", "per request alone"),
        ("tasks", "label requests 'task'"),
        ("rejected tokens", "no counter"),
    ),
}
"""Things that counters do not tell, and who does."""


def unseen_rows(view: View, width: int) -> list[Row]:
    """Things that are not to be seen from here."""
    engine = view.sample.engine if view.sample else ""
    return [
        row
        for what, who in UNSEEN.get(engine, ())
        for row in (((what, "text"),), ((f"  {fitting([who], max(width - 2, 6))}", "muted"),))
    ]


def live_cells(view: View, width: int) -> Row:
    """The second line of the status: the speed of now."""
    parts = []
    if (speed := view.tokens_per_second) is not None:
        parts.append(f"{speed:,.0f} tok/s")
    figures = view.shown
    if figures is not None and figures.tokens_per_round is not None and not view.plain:
        parts.append(f"{figures.tokens_per_round:.2f} tok/round")
    if view.payoff.speedup is not None:
        parts.append(f"{number(view.payoff.speedup)}× plain")
    if figures is not None and figures.accepted_share is not None:
        parts.append(f"accepted {percent(figures.accepted_share)}")
    if view.sample is not None:
        parts.append(f"{_whole(view.sample.running)} running, {_whole(view.sample.waiting)} waiting")
        if view.sample.kv is not None:
            parts.append(f"KV {percent(view.sample.kv)}")
    return ((f"   {fitting(parts, max(width - 4, 8), '  │ ')}", "text"),)


def state_cells(view: View, age: float, width: int, recorded: str) -> Row:
    """The first line of the status: the state, and how old what is shown is."""
    sign, role = STATE_SIGNS[view.state]
    if view.words:
        head = sanitize_line(view.words)
        if not view.answers and view.at is not None:
            head = f"{head.rstrip('.')}. Figures are of {clock(view.at)}"
    else:
        head = "live"
    parts = [head, *([recorded] if recorded else [])]
    if view.answers:
        parts.append(f"polled {age:.0f} s ago" if age >= 2 else "polled just now")
        if view.page_bytes:
            parts.append(f"{view.page_bytes / 1000:.0f} KB a poll")
    return ((f" {sign} ", role), (fitting(parts, max(width - 4, 8), "   "), "text"))


def past_cells(view: View, width: int, recorded: str) -> Row:
    """The same for a recording that is over."""
    begin = f"{clock(view.began_at)} to " if view.began_at is not None else ""
    end = "" if view.at is None else clock(view.at)
    return (
        (" ■ ", "muted"),
        (fitting([recorded, f"{begin}{end}", view.words], max(width - 4, 8), "   "), "text"),
    )


def _whole(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}"
