"""Shards: parts of a run's prompts that are decoded apart, and may be merged afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spectui.store.errors import StoreError
from spectui.store.records import PromptRecord


@dataclass(frozen=True)
class Shard:
    """The place of a session among the shards of its run."""

    number: int
    """From 1."""
    of: int
    prompts: int
    """Of the whole run."""
    digest: str
    """Of the whole run's list of prompts, see `digest_of`."""

    @property
    def words(self) -> str:
        """``shard 2/3``."""
        return f"shard {self.number}/{self.of}"

    def to_json(self) -> str:
        """One JSON object, keys as the fields."""
        return json.dumps(asdict(self))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Shard:
        """The inverse of `to_json`, already parsed. Raises `StoreError` for another object."""
        try:
            shard = cls(**data)
        except TypeError:
            shard = None
        numbers = () if shard is None else (shard.number, shard.of, shard.prompts)
        if shard is None or not all(type(each) is int and each > 0 for each in numbers):
            raise StoreError(
                "the database is damaged: a session's shard cannot be read; restore a copy of it"
            )
        return shard


def positions_of(tasks: Sequence[str], number: int, of: int) -> list[int]:
    """The positions of one shard's prompts, given the task of each prompt of the run: each `of`-th one of its task.

    By its place within the task, so that every shard has as many prompts of each, but for one.
    """
    seen: dict[str, int] = {}
    chosen = []
    for position, task in enumerate(tasks):
        if seen.setdefault(task, 0) % of == number - 1:
            chosen.append(position)
        seen[task] += 1
    return chosen


def digest_of(prompts: Sequence[PromptRecord]) -> str:
    """A digest of a list of prompts: their ids, tasks, texts and order."""
    sha = hashlib.sha256()
    for each in prompts:
        sha.update(json.dumps([each.prompt_id, each.task, each.text, each.messages]).encode())
    return sha.hexdigest()[:16]
