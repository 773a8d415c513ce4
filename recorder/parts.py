"""Parts of the recorder: each wraps methods of the server, is timed, and fails alone."""

from __future__ import annotations

import functools
import inspect
import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

IN_A_ROW = 100
"""So many exceptions of a part one after the other turn it off."""
LATEST = 512


class Meter:
    """Seconds of calls: their number, sum and largest, and the latest ones for quantiles."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0
        self.longest = 0.0
        self.latest: deque[float] = deque(maxlen=LATEST)

    def add(self, seconds: float, calls: int = 1) -> None:
        """Count one call, or several that took so long together."""
        self.calls += calls
        self.seconds += seconds
        self.longest = max(self.longest, seconds / calls)
        self.latest.append(seconds / calls)

    def row(self) -> dict[str, float]:
        """Its figures in microseconds, as files have them."""
        latest = sorted(self.latest)
        seconds = {
            "mean_us": self.seconds / self.calls,
            "p50_us": latest[len(latest) // 2],
            "p99_us": latest[len(latest) * 99 // 100],
            "max_us": self.longest,
        }
        return {"n": self.calls} | {name: round(1e6 * value, 1) for name, value in seconds.items()}


class Part:
    """One part of the recorder in this process."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        self.name = name
        self.off = ""
        """The reason that it is off; "" while it is on."""
        self.errors = 0
        self.last_error = ""
        self.meters: dict[str, Meter] = {}
        self._in_a_row = 0
        self._log = log

    @property
    def state(self) -> str:
        """As files have it."""
        return f"off: {self.off}" if self.off else "on"

    def turn_off(self, why: str) -> None:
        """Leave it out from now on, and say so once in the server's log."""
        if not self.off:
            self.off = why
            self._log.warning("spectui records no %s: %s", self.name, why)

    def failed(self, error: Exception) -> None:
        """Count an exception that was caught."""
        self.errors += 1
        self._in_a_row += 1
        self.last_error = f"{type(error).__name__}: {error}"[:200]
        if self.errors == 1:
            self._log.warning(
                "spectui: an error while recording %s (they are counted): %s", self.name, self.last_error
            )
        if self._in_a_row >= IN_A_ROW:
            self.turn_off(f"{IN_A_ROW} errors in a row, the last one {self.last_error}")

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The function's result; None when it raises, which is counted."""
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            self.failed(error)
            return None
        self._in_a_row = 0
        return result

    def attempt(self, change: Callable[[Any], None], target: Any) -> None:
        """Change something of the server, or leave this part out."""
        try:
            change(target)
        except Exception as error:
            self.turn_off(str(error) or type(error).__name__)

    def wrap(
        self,
        owner: type,
        method: str,
        parameters: Sequence[str],
        *,
        before: Callable[..., Any] | None = None,
        after: Callable[..., Any] | None = None,
        meter: str = "",
    ) -> None:
        """Have `before` see a method's arguments and `after` what `before` returned, the result, and the arguments.

        `after` is left out when `before` returned None. Nothing of either reaches the server: the method gets its
        arguments, and its caller the result or the exception, as without them. Raises `TypeError` when the method is
        not as expected.
        """
        original = owner.__dict__.get(method)
        _check(f"{owner.__name__}.{method}", original, parameters)
        assert original is not None
        self.meters[meter or method] = timed = Meter()

        @functools.wraps(original)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            return self._through(original, args, kwargs, before, after, timed)

        setattr(owner, method, recorded)

    def hook(
        self,
        parameters: Sequence[str],
        *,
        before: Callable[..., Any] | None = None,
        after: Callable[..., Any] | None = None,
        meter: str,
    ) -> Callable[..., Any]:
        """A function to be called with a function and its arguments, where the server itself wraps; else as `wrap`.

        The function is known at the first call only. One that is not as expected turns the part off.
        """
        self.meters[meter] = timed = Meter()
        checked: list[Any] = []

        def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if not checked:
                checked.append(original)
                self.attempt(
                    lambda known: _check(getattr(known, "__name__", meter), known, parameters), original
                )
            return self._through(original, args, kwargs, before, after, timed)

        return around

    def _through(
        self,
        original: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        before: Callable[..., Any] | None,
        after: Callable[..., Any] | None,
        timed: Meter,
    ) -> Any:
        if self.off:
            return original(*args, **kwargs)
        begun = perf_counter()
        seen = self.call(before, *args, **kwargs) if before else True
        spent = perf_counter() - begun
        result = original(*args, **kwargs)
        begun = perf_counter()
        if after and seen is not None:
            self.call(after, seen, result, *args, **kwargs)
        if seen is not None:
            timed.add(spent + perf_counter() - begun)
        return result


def _check(name: str, function: Any, parameters: Sequence[str]) -> None:
    """Raise `TypeError` unless a function's parameters begin with these."""
    names = list(inspect.signature(function).parameters) if callable(function) else []
    if names[: len(parameters)] != list(parameters):
        there = f"{name}({', '.join(names)})" if names else f"no {name}"
        raise TypeError(f"there is {there}, not {name}({', '.join(parameters)})")
