"""The pace of a run and its estimated end. Pure functions of stored values."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from spectui.store.counts.metrics import tokens_per_second
from spectui.store.rows import GenerationRow, SessionSummary
from spectui.tui.terminal.textsafe import sanitize_line

WINDOW_MS = 10_000.0
"""Decoding time over which the present speed is taken."""
LEAST_MS = 1_000.0
"""Less decoding than this tells of a few rounds, not of a speed: one that a start beside it held up, say."""

DONE = ("finished", "skipped", "failed")


class Pace:
    """Tokens per second of decoding over the last seconds of decoding; pauses do not count."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, float]] = deque()

    def add(self, tokens: int, milliseconds: float) -> float | None:
        """Take the session's totals as they are now; returns tokens/s, all its decoding's at first, None before any."""
        samples = self._samples
        if samples and milliseconds < samples[-1][1]:
            samples.clear()
        if not samples or milliseconds > samples[-1][1]:
            samples.append((tokens, milliseconds))
        while len(samples) > 2 and milliseconds - samples[1][1] >= WINDOW_MS:
            samples.popleft()
        first = samples[0]
        if milliseconds - first[1] < LEAST_MS:
            return tokens_per_second(tokens, milliseconds)
        return tokens_per_second(tokens - first[0], milliseconds - first[1])


def eta_seconds(generations: Sequence[GenerationRow]) -> float | None:
    """Seconds to go if prompts left cost what finished ones did, as many at a time as now; None before the first."""
    done = [g for g in generations if g.status == "finished" and g.total_ms]
    remaining = [g for g in generations if g.status not in DONE]
    if not done or not remaining:
        return None
    each = sum(g.total_ms for g in done) / len(done)
    left = [max(each - g.total_ms, 0.0) for g in remaining]
    at_a_time = max(sum(g.status == "running" for g in remaining), 1)
    return max(sum(left) / at_a_time, *left) / 1000


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def elapsed_seconds(summary: SessionSummary) -> float | None:
    """Wall time from the start of the session to its end, to its last sign of life, or to now."""
    start = _time(summary.started_at)
    if start is None:
        return None
    ended = _time(summary.ended_at) or _time(summary.heartbeat_at) or start
    end = now() if summary.live else ended
    return max((end - start).total_seconds(), 0.0)


def silence(summary: SessionSummary) -> str:
    """``no sign of life for 37 s``, of a worker that should be at work; "" of one that is, or of none."""
    seconds = summary.silent_seconds
    return "" if seconds is None else f"no sign of life for {short_time(seconds)}"


def short_time(seconds: float) -> str:
    """``37 s``, ``12 min``, ``5 h``, ``3 d``."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def failed_words(summary: SessionSummary) -> str:
    """``3 failed``, ``all failed``, or "" where no prompt did."""
    if not summary.prompts_failed:
        return ""
    return (
        "all failed"
        if summary.prompts_failed == summary.prompt_count
        else f"{summary.prompts_failed:,} failed"
    )


def round_age(summary: SessionSummary) -> str:
    """``3 s``: how long ago the last round of a run at work was recorded; "" where that is not known."""
    then = _time(summary.round_at) if summary.live else None
    return "" if then is None else short_time(max((now() - then).total_seconds(), 0.0))


def worker_words(summary: SessionSummary) -> list[str]:
    """``round 3 s ago, pid 4711 on gpu-box``, then what of it takes less room; nothing where nobody is at work."""
    if not summary.live or summary.silent_seconds is not None or summary.pid is None:
        return []
    age = round_age(summary)
    who = f"pid {summary.pid} on {sanitize_line(summary.host)}"
    return [f"round {age} ago, {who}", f"round {age} ago"] if age else [who]


def ago(text: str | None) -> str:
    """A time as people say it: ``just now``, ``4 min ago``, ``Mar 01 14:05``."""
    then = _time(text)
    if then is None:
        return ""
    seconds = (now() - then).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 24 * 3600:
        return f"{int(seconds // 3600)} h ago"
    local = then.astimezone()
    return local.strftime("%b %d %H:%M" if seconds < 300 * 24 * 3600 else "%Y-%m-%d")


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)
