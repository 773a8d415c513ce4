"""The sessions that are to be merged: fit by themselves, of one run, and together all of it; else one line says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.merging.basis import Basis, differences
from spectui.store.merging.shards import Shard, digest_of
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.rows import SessionSummary
from spectui.store.sources import ENGINE

FREE = (
    "shard", "device", "price", "max_seconds", "max_nodes", "max_tokens", "force_budget", "allow_pickle",
)  # fmt: skip
"""Keys of a configuration that do not change what a prompt's rounds are."""
BY_FILES = {"target": "target", "draft": "draft"}
"""Keys that may be paths, which differ from machine to machine -> the role whose files tell what they stand for."""
SHOWN = 5
"""Prompts that a message lists before the rest are counted."""


@dataclass(frozen=True)
class Place:
    """The place of a shard: a database, and the session in it; None for its only one."""

    database: Path
    session: int | str | None = None


@dataclass(frozen=True)
class Part:
    """One session to merge, found fit by itself."""

    reader: Reader
    summary: SessionSummary
    shard: Shard
    label: str
    files: Mapping[str, Mapping[str, str]]
    prompts: dict[int, PromptRecord]
    """By position."""

    def row(self, columns: str) -> tuple[Any, ...]:
        """Columns of the session's row."""
        (row,) = self.reader.fetch(f"SELECT {columns} FROM session WHERE id = ?", self.summary.id)
        return row

    @property
    def basis(self) -> Basis:
        """The versions and files that its output depends on; shards may run on unlike devices."""
        # Python draws no token, and clusters have it in many patch levels.
        versions = {name: each for name, each in self.summary.versions.items() if name != "python"}
        return Basis(versions, "", self.files)


def named(place: Place) -> str:
    """A place as messages name it."""
    return str(place.database) if place.session is None else f"session '{place.session}' of {place.database}"


def read_parts(places: Sequence[Place], stack: ExitStack) -> list[Part]:
    """The sessions at these places, which `stack` closes. Raises `StoreError` where one cannot be merged."""
    readers: dict[Path, Reader] = {}
    for place in places:
        if place.database not in readers:
            with closing(connect(place.database, read_only=True)) as connection:
                problems = check(connection)
            if problems:
                raise StoreError(f"{place.database} is not sound, so nothing was merged: {problems[0]}")
            readers[place.database] = stack.enter_context(Reader(place.database))
    return [_part(readers[place.database], place) for place in places]


def _part(reader: Reader, place: Place) -> Part:
    if place.session is None:
        sessions = reader.sessions(2)
        if len(sessions) != 1:
            held = "several sessions" if sessions else "no session"
            which = f"; name one, as in {place.database}:last" if sessions else ""
            raise StoreError(f"{place.database} holds {held}{which}")
        summary = sessions[0]
    else:
        summary = reader.session(place.session)
    label = f"session '{summary.name}' of {place.database}"
    if summary.source != ENGINE:
        raise StoreError(f"{label} is of a server; shards are of models that spectui runs")
    if summary.shard is None:
        raise StoreError(
            f"{label} is no shard, for it has all prompts of its run; shards are made by --shard I/N"
        )
    if summary.live:
        raise StoreError(f"{label} is {summary.status}; merge it when it has ended")
    shard = Shard.from_dict(summary.shard)
    label = f"{shard.words} ({label})"
    unfinished = reader.unfinished(summary.id)
    if unfinished:
        prompts = "1 prompt" if unfinished == 1 else f"{unfinished} prompts"
        raise StoreError(
            f"{label} has {prompts} to go; decode them with: "
            f"spectui run --resume {summary.id} --db {place.database}"
        )
    if summary.pruned:
        raise StoreError(
            f"{label} has given up nodes of {summary.pruned} prompts; merge shards before they are pruned"
        )
    rows = reader.fetch(
        "SELECT position, prompt_id, task, prompt_text, messages FROM generation WHERE session_id = ?",
        summary.id,
    )
    prompts_by_position = {position: PromptRecord(*row) for position, *row in rows}
    return Part(reader, summary, shard, label, reader.model_files(summary.id), prompts_by_position)


def check_same(parts: Sequence[Part]) -> None:
    """Raise `StoreError` unless all are of one run: the same prompts, configuration, models and versions."""
    first = parts[0]
    for part in parts[1:]:
        if (part.shard.digest, part.shard.prompts) != (first.shard.digest, first.shard.prompts):
            raise StoreError(f"{part.label} is of another list of prompts than {first.label}")
        phrases = [*_changed_settings(first, part), *differences(first.basis, part.basis)]
        if part.summary.tokenizer_id != first.summary.tokenizer_id and not phrases:
            phrases = ["its tokenizer is another"]
        if phrases:
            raise StoreError(f"{part.label} is of another run than {first.label}: {'; '.join(phrases)}")


def _changed_settings(first: Part, part: Part) -> Iterator[str]:
    one, other = first.summary.config, part.summary.config
    for key in dict.fromkeys((*one, *other)):
        role = BY_FILES.get(key)
        told_by_files = role is not None and bool(first.files.get(role)) and bool(part.files.get(role))
        if key not in FREE and not told_by_files and one.get(key) != other.get(key):
            yield f"{key} was {_shown(one.get(key))} and is {_shown(other.get(key))}"

    if one.get("tree") == other.get("tree") and first.summary.tree != part.summary.tree:
        yield f"tree was {first.summary.tree} and is {part.summary.tree}"


def _shown(value: Any) -> str:
    return "not set" if value in (None, "") else str(value)


def check_complete(parts: Sequence[Part]) -> None:
    """Raise `StoreError` unless every prompt of the run is in exactly one of them."""
    holders: dict[int, list[Part]] = {}
    for part in parts:
        for position in part.prompts:
            holders.setdefault(position, []).append(part)
    total = parts[0].shard.prompts
    missing = [position for position in range(total) if position not in holders]
    double = [position for position in sorted(holders) if len(holders[position]) > 1]
    phrases = []
    if missing:
        here = {part.shard.number for part in parts}
        of = {part.shard.of for part in parts}
        gone = [f"{number}/{max(of)}" for number in range(1, max(of) + 1) if number not in here]
        whose = f": shard{'s' if len(gone) > 1 else ''} {_listed(gone)}" if len(of) == 1 and gone else ""
        phrases.append(f"{len(missing)} of {total} prompts are missing{whose} ({_prompts(missing)})")
    if double:
        both = " and ".join(part.label for part in holders[double[0]])
        phrases.append(f"{len(double)} of {total} prompts are there twice, in {both} ({_prompts(double)})")
    if phrases:
        raise StoreError(f"nothing was merged: {'; '.join(phrases)}")
    whole = [holders[position][0].prompts[position] for position in range(total)]
    if len(holders) != total or digest_of(whole) != parts[0].shard.digest:
        raise StoreError(
            "nothing was merged: the prompts are not those that the shards were made of; restore copies"
        )


def _prompts(positions: Sequence[int]) -> str:
    plural = "prompt" if len(positions) == 1 else "prompts"
    return f"{plural} {_listed([str(position + 1) for position in positions])}"


def _listed(words: Sequence[str]) -> str:
    rest = len(words) - SHOWN
    return ", ".join(words) if rest <= 0 else f"{', '.join(words[:SHOWN])} and {rest} more"
