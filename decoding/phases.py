"""Named phases of decoding, timed by ``spectui bench --profile`` and otherwise free of cost.

with phase(VERIFY):
    scored = target.append(ids, depth, mask)
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextvars import ContextVar

PREFILL, PREFILL_DRAFT = "prefill, target", "prefill, draft"
DRAFT, LEVEL, VERIFY = "draft", "draft level", "verify"
ACCEPT, KEEP, LEARN, FIGURES = "accept", "keep in the cache", "tell the drafter", "figures of the nodes"


class PhaseTimer:
    """Divides the wall time of one thread into phases; time outside of any belongs to `rest`.

    A phase inside another stops the outer one's time. `LEVEL`, one forward of the draft, is numbered from 1 within
    each `DRAFT`; while a prompt is prefilled it is part of `PREFILL_DRAFT`. `synchronise` is called at each change
    of phase: it waits for a GPU, whose work would otherwise be counted where the host waits next.
    """

    def __init__(self, rest: str, synchronise: Callable[[], None] = lambda: None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()
        self._synchronise = synchronise
        self._phases = [rest]
        self._level = 0
        self._since = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, time is counted and `phase` takes effect."""
        self._synchronise()
        self._since = time.perf_counter()
        token = _timer.set(self)
        try:
            yield
        finally:
            _timer.reset(token)
            self._count()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """See `decoding.phases.phase`."""
        self._count()
        name = self._numbered(name)
        if self._phases[-1] != name:  # a step of the phase that is being counted is no further call
            self.calls[name] += 1
        self._phases.append(name)
        try:
            yield
        finally:
            self._count()
            self._phases.pop()

    def _numbered(self, name: str) -> str:
        if name == DRAFT:
            self._level = 0
        if name != LEVEL:
            return name
        if PREFILL_DRAFT in self._phases:
            return PREFILL_DRAFT
        self._level += 1
        return f"{LEVEL} {self._level}"

    def _count(self) -> None:
        self._synchronise()
        now = time.perf_counter()
        self.seconds[self._phases[-1]] += now - self._since
        self._since = now


_timer: ContextVar[PhaseTimer | None] = ContextVar("phase timer", default=None)
_UNTIMED = contextlib.nullcontext()


def phase(name: str) -> contextlib.AbstractContextManager[None]:
    """A context whose time counts as that of phase `name` where a `PhaseTimer` runs in this thread."""
    timer = _timer.get()
    return _UNTIMED if timer is None else timer.phase(name)
