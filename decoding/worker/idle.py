"""Time without decoding: the process was stopped, the machine slept, a disk was full, the run paused.

A process that does not run can only notice afterwards. A thread wakes a few times a second and compares the time that
has passed with the time it slept and with the time that the main thread computed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from spectui.decoding.machine.energy import decoding_now

if TYPE_CHECKING:
    from spectui.decoding.rounds import Round

BEAT_SECONDS = 0.2
STILL_SECONDS = 2.0
"""A thread that woke so long after it asked for `BEAT_SECONDS` did not run. On a busy machine it waits for its turn,
but for a tenth of a second rather than for seconds."""
MOST_COMPUTED = 0.5
"""Share of such a gap; if the main thread computed for more of it, the process ran and only Python's lock was held."""

SUSPECT_MS = 1000.0
"""Rounds that took less are not examined."""
HUNG_MS, HUNG_TIMES, HUNG_AFTER = 10_000.0, 20.0, 5
"""A round that took so many milliseconds longer than others, and so many times as long, waited for a device that hung;
judged after so many rounds."""


class Standstill(NamedTuple):
    """A time in which the process did not run, from `begin` to `end` (`time.perf_counter`)."""

    begin: float
    end: float
    seconds: float
    """By the wall clock: a machine that sleeps may stop the other clock."""
    reason: str
    """``the process stood still``"""

    @property
    def text(self) -> str:
        """``the process stood still for 30 s``."""
        return f"{self.reason} for {self.seconds:.0f} s"


def slept_seconds() -> float:
    """Seconds that the machine has slept since it was started; 0 where the system does not say."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def main_thread_seconds() -> float:
    """Seconds that the main thread has computed so far; the whole process where threads are not counted apart."""
    main = threading.main_thread().ident
    if main is None or not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time()
    return time.clock_gettime(time.pthread_getcpuclockid(main))


class IdleTime:
    """The spans of time in which nothing could be decoded. May be used from any thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        slept: Callable[[], float] = slept_seconds,
        computed: Callable[[], float] = main_thread_seconds,
    ) -> None:
        self._clock, self._slept, self._computed = clock, slept, computed
        self._lock = threading.Lock()
        self._still: deque[tuple[float, float]] = deque(maxlen=64)
        self._all: deque[tuple[float, float]] = deque(maxlen=64)
        self._seconds = 0.0
        self._standstills: list[Standstill] = []
        self._last = (clock(), slept(), computed())
        self._held: dict[str, float] = {}
        self._was_decoding = False
        self._usual: deque[float] = deque(maxlen=64)

    @property
    def seconds(self) -> float:
        """All idle seconds so far, without a span that has not ended."""
        return self._seconds

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for standstills inside, from a thread of its own."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                self.look()

        with self._lock:
            self._last = (self._clock(), self._slept(), self._computed())
        thread = threading.Thread(target=beat, name="idle-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(timeout=5.0)

    def look(self) -> None:
        """Note whether the process stood still since the last look; call at least every `BEAT_SECONDS`."""
        with self._lock:
            now = (self._clock(), self._slept(), self._computed())
            (then, slept_then, computed_then), self._last = self._last, now
            gap, slept = now[0] - then, now[1] - slept_then
            worked = max(now[2] - computed_then, 0.0)
            if gap >= STILL_SECONDS and worked <= MOST_COMPUTED * gap:
                self._add(then + worked, now[0], self._still)
                self._standstills.append(
                    Standstill(then + worked, now[0], gap - worked, "the process stood still")
                )
            elif slept >= STILL_SECONDS:  # then the clock of rounds stood still too
                self._standstills.append(Standstill(now[0], now[0], slept, "the machine slept"))

    def hold(self, why: str, since: float | None = None) -> None:
        """Begin a span without decoding, now or at `since`, which ends at `release` of the same reason."""
        with self._lock:
            if not self._held and decoding_now.is_set():
                self._was_decoding = True
                decoding_now.clear()
            self._held.setdefault(why, self._clock() if since is None else since)

    def release(self, why: str) -> None:
        """End the span of a reason, if there is one."""
        with self._lock:
            since = self._held.pop(why, None)
            if since is None:
                return
            self._add(since, self._clock(), None)
            if self._was_decoding and not self._held:
                self._was_decoding = False
                decoding_now.set()

    def within(self, begin: float, end: float) -> float:
        """Idle seconds between two times, for whatever reason."""
        with self._lock:
            return _covered(self._all, begin, end)

    def take_standstills(self) -> list[Standstill]:
        """The standstills noticed since the last call."""
        if not self._standstills:
            return []
        with self._lock:
            standstills, self._standstills = self._standstills, []
            return standstills

    def without_standstills(self, round_: Round) -> Round:
        """A round that ended just now, without the time in it that the process stood still."""
        took = round_.draft_ms + round_.verify_ms + round_.other_ms
        if took < SUSPECT_MS:
            self._usual.append(took)
            return round_
        self.look()
        end = self._clock()
        with self._lock:
            lost = 1e3 * _covered(self._still, end - took / 1e3, end)
            worked, usual = max(took - lost, 0.0), median(self._usual) if self._usual else 0.0
            hung = worked - usual
            if len(self._usual) >= HUNG_AFTER and hung >= HUNG_MS and worked >= HUNG_TIMES * usual:
                lost += hung
                self._add(end - hung / 1e3, end, self._still)
                self._standstills.append(
                    Standstill(end - hung / 1e3, end, hung / 1e3, "the device or the machine hung")
                )
            else:
                self._usual.append(worked)
        return subtract_ms(round_, lost)

    def _add(self, begin: float, end: float, still: deque[tuple[float, float]] | None) -> None:
        self._seconds += max(end - begin - _covered(self._all, begin, end), 0.0)
        self._all.append((begin, end))
        if still is not None:
            still.append((begin, end))


def subtract_ms(round_: Round, lost_ms: float) -> Round:
    """The round with `lost_ms` taken from its times, the longest first: a standstill lies within one of them."""
    if lost_ms <= 0:
        return round_
    times = {"draft_ms": round_.draft_ms, "verify_ms": round_.verify_ms, "other_ms": round_.other_ms}
    for name in sorted(times, key=lambda name: -times[name]):
        taken = min(times[name], lost_ms)
        times[name] -= taken
        lost_ms -= taken
    return replace(
        round_, draft_ms=times["draft_ms"], verify_ms=times["verify_ms"], other_ms=times["other_ms"]
    )


def _covered(spans: deque[tuple[float, float]], begin: float, end: float) -> float:
    """Seconds from `begin` to `end` that lie in any of `spans`, which may overlap."""
    covered, reached = 0.0, begin
    for first, last in sorted(span for span in spans if span[1] > begin and span[0] < end):
        first = max(first, reached)
        last = min(last, end)
        if last > first:
            covered += last - first
            reached = last
    return covered
