"""Everything that the output of a run depends on beside its configuration, and the differences between two such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Files = Mapping[str, str]
"""Digest by file name."""


@dataclass(frozen=True)
class Basis:
    """Everything that the output of a run depends on beside its configuration."""

    versions: Mapping[str, str]
    device: str
    files: Mapping[str, Files] = field(default_factory=dict)
    """By role: "target", and "draft" where it has files of its own."""


def differences(then: Basis, now: Basis) -> list[str]:
    """A phrase for each difference; none when the run can go on as it is."""
    return [
        *(_changed(name, then.versions[name], now.versions.get(name, "gone")) for name in then.versions
          if then.versions[name] != now.versions.get(name)),
        *([_changed("the device", then.device, now.device)] if then.device != now.device else []),
        *(phrase for role in sorted({*then.files, *now.files})
          for phrase in _file_differences(role, then.files.get(role, {}), now.files.get(role, {}))),
    ]  # fmt: skip


def _changed(name: str, then: str, now: str) -> str:
    return f"{name} was {then} and is {now}"


def _file_differences(role: str, then: Files, now: Files) -> Iterator[str]:
    for name in sorted({*then, *now}):
        if name not in now:
            yield f"the {role}'s {name} is gone"
        elif name not in then:
            yield f"the {role}'s {name} is new"
        elif then[name] != now[name]:
            yield f"the {role}'s {name} has changed"
