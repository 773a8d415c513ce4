"""The class of a device, which with the models decides how long a forward takes: times of two are never added up."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, order=True)
class DeviceClass:
    """A kind of device, as a run uses it."""

    name: str = ""
    """Such as "NVIDIA H200"; "" where it is not known."""
    dtype: str = ""
    """Number type of the target."""
    threads: int = 0
    """Threads of a CPU."""

    def to_json(self) -> str:
        """One text for each class, so that equal texts are equal classes."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def words(self) -> str:
        """The class in a few words: ``NVIDIA H200, bfloat16``."""
        threads = {0: "", 1: "1 thread"}.get(self.threads, f"{self.threads} threads")
        return ", ".join(filter(None, (self.name or "unknown device", self.dtype, threads)))


def read_class(text: str) -> DeviceClass:
    """The inverse of `DeviceClass.to_json`; nothing is known from any other text."""
    try:
        data = json.loads(text)
        name, dtype, threads = data["name"], data["dtype"], data["threads"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return DeviceClass()
    known = isinstance(name, str) and isinstance(dtype, str) and type(threads) is int
    return DeviceClass(name, dtype, threads) if known else DeviceClass()
