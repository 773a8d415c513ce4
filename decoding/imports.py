"""Imports of torch and what builds on it, without a search for garbage among what they make."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def all_lasting() -> Iterator[None]:
    """Keep the collector of garbage away from what is made within, now and later.

    Modules of torch and transformers are hundreds of thousands of objects, none of which is garbage: looking for some
    takes a third of a process's start and end.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
