"""The closest known name to one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def closest(name: str, names: Collection[str]) -> str:
    """``did you mean 'theme'?``, or all there are when none is like it."""
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
