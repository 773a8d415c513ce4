"""Figures that decoding does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """A value that is worked out once, by whichever thread asks first; what it is made from is then let go.

    A round's probabilities and entropies are recorded but decide nothing: the thread that writes rounds asks
    for them while the next round is decoded.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._made: list[T] = []
        self._lock = threading.Lock()

    def __call__(self) -> T:
        """The value. Raises whatever making it raises."""
        with self._lock:
            if self._make is not None:
                self._made.append(self._make())
                self._make = None
            return self._made[0]
