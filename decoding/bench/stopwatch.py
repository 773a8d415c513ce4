"""Where time goes, by phase, without a line in what is timed: functions are replaced while the watch is on."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

Phase = str | Callable[[], str]
"""A name, or what gives it at each call."""


class Stopwatch:
    """Divides the wall time of one thread into phases: at any moment it runs for one of them.

    A phase within another stops the outer one's time. What belongs to none is `rest`. `settle` is called at each
    change of phase: a device that works behind the host's back has to be waited for, or its time would be
    counted where the host waits next.
    """

    def __init__(self, rest: str, settle: Callable[[], None] = lambda: None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._settle = settle
        self._phases = [rest]
        self._since: float | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Time passes only inside."""
        self._settle()
        self._since = time.perf_counter()
        try:
            yield
        finally:
            self._count()
            self._since = None

    @contextlib.contextmanager
    def phase(self, name: str, *, counts: bool = True) -> Iterator[None]:
        """Inside, time is that of `name`, and a call of it if that `counts`; outside of `running` nothing is."""
        if self._since is None:
            yield
            return
        self._count()
        if counts and self._phases[-1] != name:  # else it is a step of what is being counted already
            self.calls[name] += 1
        self._phases.append(name)
        try:
            yield
        finally:
            self._count()
            self._phases.pop()

    @contextlib.contextmanager
    def timing(self, owner: Any, name: str, phase: Phase, *, counts: bool = True) -> Iterator[None]:
        """Inside, every call of ``owner.name`` is a phase. Raises `AttributeError` where there is no such thing."""
        real = getattr(owner, name)
        own = name in vars(owner)

        @functools.wraps(real)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.phase(phase if isinstance(phase, str) else phase(), counts=counts):
                return real(*arguments, **options)

        setattr(owner, name, timed)
        try:
            yield
        finally:
            if own:
                setattr(owner, name, real)
            else:
                delattr(owner, name)

    def _count(self) -> None:
        assert self._since is not None
        self._settle()
        now = time.perf_counter()
        self.seconds[self._phases[-1]] += now - self._since
        self._since = now
