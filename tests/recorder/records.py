"""Rows of a recorder, read in the plainest way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Records:
    """The rows of all files in a folder; a line that is cut is an error here."""

    def __init__(self, folder: Path) -> None:
        self.rows: dict[str, list[Any]] = {}
        for file in sorted(folder.glob("*.jsonl")):
            for line in file.read_text(encoding="ascii").splitlines():
                kind, *values = json.loads(line)
                self.rows.setdefault(kind, []).append(values)

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Rows that are one object: `meta`, `req`, `end`, `stat`."""
        return [row for (row,) in self.rows.get(kind, [])]

    @property
    def commits(self) -> list[Any]:
        """The commits of all steps."""
        return [commit for _, commits in self.rows.get("step", []) for commit in commits]

    @property
    def verdicts(self) -> list[Any]:
        """The verdicts of all steps."""
        return [verdict for (verdicts,) in self.rows.get("verify", []) for verdict in verdicts]

    def without(self, requests: set[str]) -> Records:
        """The same but for some requests' commits and objects; this one is changed."""
        self.rows["step"] = [
            [t, [commit for commit in commits if commit[0] not in requests]]
            for t, commits in self.rows["step"]
        ]
        for kind in ("req", "end"):
            self.rows[kind] = [row for row in self.rows[kind] if row[0]["id"] not in requests]
        return self


def asked_as(request: str) -> tuple[str, int]:
    """The `X-Request-Id` of a chat, and the number of the answer, from the engine's id."""
    number, _, rest = request.rpartition("chatcmpl-")
    return rest[:-9], int(number.rstrip("_") or 0)
