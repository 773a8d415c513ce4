"""The choice of what is recorded, from the server's environment."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass
from typing import Any


class SettingsError(ValueError):
    """A variable of the environment that cannot be understood; its text is one line for the server's log."""


@dataclass(frozen=True)
class Settings:
    """Everything is on that is not turned off."""

    folder: str
    run: str = ""
    """The same in all processes of one start of the server."""
    target: bool = True
    entropy: bool = True
    draft: bool = True
    ids: bool = True
    sample: float = 1.0
    """The share of requests that are recorded."""
    max_mb: float = 1024.0
    """At most so much lies in the folder."""
    keep: str = "old"
    """For a full folder: "old" rows stay and new ones are dropped, or room is made for the "new" ones."""
    queue: int = 1024
    """Rows that may wait to be written."""

    @property
    def switches(self) -> dict[str, Any]:
        """The part of every file's first line."""
        named = asdict(self)
        return {
            name: named[name] for name in ("target", "entropy", "draft", "ids", "sample", "max_mb", "keep")
        }

    def chooses(self, request: str) -> bool:
        """True where a request is recorded: the same answer in every process."""
        return self.sample >= 1 or zlib.crc32(request.encode(errors="replace")) < self.sample * 2**32


def from_environment(prefix: str, environment: MutableMapping[str, str] = os.environ) -> Settings | None:
    """The settings in ``<prefix>_...``; None without ``<prefix>_DIR``.

    The folder becomes an absolute path, and the start of the server gets a name, both for the processes that it starts.
    Raises `SettingsError`.
    """
    folder = environment.get(f"{prefix}_DIR", "")
    if not folder:
        return None
    environment[f"{prefix}_DIR"] = os.path.abspath(os.path.expanduser(folder))  # noqa: PTH100, PTH111
    return Settings(
        folder=environment[f"{prefix}_DIR"],
        run=environment.setdefault(f"{prefix}_RUN", uuid.uuid4().hex[:12]),
        target=_switch(environment, f"{prefix}_TARGET"),
        entropy=_switch(environment, f"{prefix}_ENTROPY"),
        draft=_switch(environment, f"{prefix}_DRAFT"),
        ids=_switch(environment, f"{prefix}_IDS"),
        sample=_number(environment, f"{prefix}_SAMPLE", Settings.sample, 0, 1),
        max_mb=_number(environment, f"{prefix}_MAX_MB", Settings.max_mb, 0, 1e9),
        keep=_choice(environment, f"{prefix}_KEEP", ("old", "new")),
        queue=int(_number(environment, f"{prefix}_QUEUE", Settings.queue, 1, 1e6)),
    )


def _switch(environment: Mapping[str, str], name: str) -> bool:
    return _choice(environment, name, ("1", "0")) == "1"


def _choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = environment.get(name) or choices[0]
    if value not in choices:
        raise SettingsError(f"{name}={value!r} is none of {', '.join(choices)}")
    return value


def _number(environment: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = environment.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{name}={text!r} is no number from {low:g} to {high:g}")
    return value
